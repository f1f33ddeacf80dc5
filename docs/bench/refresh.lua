-- wrk: POST /api/auth/refresh, each session's newest token in its turn. TOKENS names the file that
-- `keryu-api seed` wrote; each thread has sessions of its own.
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local queue, first, last = {}, 1, 0
function init()
  local n = 0
  for line in io.lines(os.getenv("TOKENS")) do
    local refresh = line:match("%S+\t%S+\t(%S+)")
    if n % tonumber(os.getenv("THREADS")) == id then
      last = last + 1
      queue[last] = refresh
    end
    n = n + 1
  end
end
local headers = { ["content-type"] = "application/json" }
function request()
  local token = queue[first]
  queue[first] = nil
  first = first + 1
  return wrk.format("POST", "/api/auth/refresh", headers, '{"refresh_token":"' .. token .. '"}')
end
local shown = 0
function response(status, headers, body)
  local token = body:match('"refresh_token":"([^"]+)"')
  if token then
    last = last + 1
    queue[last] = token
  elseif shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
