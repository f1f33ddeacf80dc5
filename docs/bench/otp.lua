-- wrk: code requests for distinct addresses, each from a client address of its own behind a trusted proxy.
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local n = 0
function request()
  n = n + 1
  local a = id * 10000000 + n
  local from = string.format("10.%d.%d.%d", a / 65536 % 256, a / 256 % 256, a % 256)
  local body = string.format('{"identifier":"user%d@example.org","purpose":"register"}', a)
  return wrk.format("POST", "/api/auth/otp/request",
    { ["content-type"] = "application/json", ["x-forwarded-for"] = from }, body)
end
local shown = 0
function response(status, headers, body)
  if status ~= 202 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
