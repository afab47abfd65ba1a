-- Runs after hostname.lua. The route is that of the listener which takes the hostname; its metadata are the wider hostnames
-- that have rules there. The next wider one is taken.
function envoy_on_request(handle)
  local headers = handle:headers()
  local rest = headers:get("x-pilothouse-wildcard")
  if rest == nil then return end
  headers:remove("x-pilothouse-wildcard")
  local known = handle:metadata()
  repeat
    rest = rest:match("%.(.*)")
    local wider = rest and "*." .. rest or "*"
    if known:get(wider) then
      headers:replace("x-pilothouse-host", wider)
      handle:clearRouteCache()
      return
    end
  until not rest
end
