-- wrk: POST /api/users/{id}/wallet/postings. PEOPLE names a file of user ids, API_KEY a key with wallet:write, RUN
-- makes the references of one run its own.
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
local people, sent = {}, 0
local headers = { ["x-api-key"] = os.getenv("API_KEY"), ["content-type"] = "application/json" }
function init()
  math.randomseed(id + 1)
  for line in io.lines(os.getenv("PEOPLE")) do
    people[#people + 1] = line
  end
end
function request()
  sent = sent + 1
  local body = string.format('{"reference":"%s-%d-%d","kind":"credit","unit":"money","amount":"1.25","reason":"Bench"}',
    os.getenv("RUN"), id, sent)
  return wrk.format("POST", "/api/users/" .. people[math.random(#people)] .. "/wallet/postings", headers, body)
end
local shown = 0
function response(status, headers, body)
  if status ~= 201 and shown < 3 then
    shown = shown + 1
    print(status, body)
  end
end
