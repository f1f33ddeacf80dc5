-- wrk: GET /api/admin/users. TOKEN signs in, PAGE is asked for; TERMS names a file of searches, one drawn for each
-- call, or nothing for none.
local terms = {}
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local function quoted(text)
  return (text:gsub("[^%w]", function(c) return string.format("%%%02X", c:byte()) end))
end
local fields = { authorization = "Bearer " .. os.getenv("TOKEN") }
local path = "/api/admin/users?page=" .. os.getenv("PAGE")
function init()
  math.randomseed(id + 1)
  local file = os.getenv("TERMS")
  if file and file ~= "" then
    for line in io.lines(file) do
      terms[#terms + 1] = wrk.format("GET", path .. "&search=" .. quoted(line), fields)
    end
  else
    terms[1] = wrk.format("GET", path, fields)
  end
end
function request()
  return terms[math.random(#terms)]
end
local shown = 0
function response(status, headers, body)
  if status ~= 200 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
