-- wrk: right codes handed in, each once, each from a client address of its own behind a trusted proxy.
-- CODES names a file of lines `identifier challenge code`; THREADS must be what -t says.
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local lines, n = {}, 0
function init()
  local count = 0
  for line in io.lines(os.getenv("CODES")) do
    if count % tonumber(os.getenv("THREADS")) == id then lines[#lines + 1] = line end
    count = count + 1
  end
end
function request()
  n = n + 1
  if n > #lines then error("no codes are left: raise COUNT") end
  local identifier, challenge, code = lines[n]:match("(%S+) (%S+) (%S+)")
  local a = id * 10000000 + n
  local from = string.format("10.%d.%d.%d", a / 65536 % 256, a / 256 % 256, a % 256)
  local body = string.format('{"identifier":"%s","purpose":"register","otp":"%s","challenge_id":"%s"}',
    identifier, code, challenge)
  return wrk.format("POST", "/api/auth/otp/verify",
    { ["content-type"] = "application/json", ["x-forwarded-for"] = from }, body)
end
local shown = 0
function response(status, headers, body)
  if status ~= 200 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
