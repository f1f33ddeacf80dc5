-- wrk: POST /api/usage-events, each batch once. BATCHES names a folder with COUNT files 0, 1, ..., API_KEY a key with
-- usage:write. Events a second are Requests/sec times 10,000.
local headers = { ["x-api-key"] = os.getenv("API_KEY"), ["content-type"] = "application/json" }
local folder, count, sent = os.getenv("BATCHES"), tonumber(os.getenv("COUNT")), 0
function request()
  if sent == count then
    print("all batches were sent: make more")
    os.exit(1)
  end
  local file = io.open(folder .. "/" .. sent, "rb")
  local body = file:read("*a")
  file:close()
  sent = sent + 1
  return wrk.format("POST", "/api/usage-events", headers, body)
end
local shown = 0
function response(status, headers, body)
  if status ~= 200 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
