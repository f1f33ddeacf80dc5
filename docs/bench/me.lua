-- wrk: GET /api/auth/me (or READ, another path) with access tokens at random. TOKENS names the file that `keryu-api seed` wrote.
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local requests = {}
function init()
  math.randomseed(id + 1)
  for line in io.lines(os.getenv("TOKENS")) do
    local _, access = line:match("(%S+)\t(%S+)")
    requests[#requests + 1] = wrk.format("GET", os.getenv("READ") or "/api/auth/me", { authorization = "Bearer " .. access })
  end
end
function request()
  return requests[math.random(#requests)]
end
local shown = 0
function response(status, headers, body)
  if status ~= 200 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
