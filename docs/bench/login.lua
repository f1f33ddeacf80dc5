-- wrk: sign-ins by password to accounts at random, each from a client address of its own behind a trusted
-- proxy. ACCOUNTS is how many there are.
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local accounts = tonumber(os.getenv("ACCOUNTS"))
function init()
  math.randomseed(os.time() * 2 + id)
end
function request()
  local a = math.random(0, 16777215)
  local from = string.format("10.%d.%d.%d", a / 65536 % 256, a / 256 % 256, a % 256)
  local body = string.format('{"identifier":"user%d@example.org","password":"correct horse battery staple"}',
    math.random(0, accounts - 1))
  return wrk.format("POST", "/api/auth/login",
    { ["content-type"] = "application/json", ["x-forwarded-for"] = from }, body)
end
local shown = 0
function response(status, headers, body)
  if status ~= 200 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
