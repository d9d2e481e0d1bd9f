-- wrk: every request redeems the first refresh token of a family of its own. Argument: the number of families before.
local family = 0

function init(arguments)
  family = tonumber(arguments[1])
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  wrk.headers["Authorization"] = "Basic YmVuY2g6YmVuY2g="
end

local padding = string.rep("r", 176)

function request()
  family = family + 1
  local token = string.format("r.%012d.%08d.", family, 0)
  return wrk.format(nil, nil, nil, "grant_type=refresh_token&refresh_token=" .. token .. padding)
end
