-- Runs where the hostname that a request asks for has no scope as it is written. Tries it as it is meant, then has it
-- looked for among the listeners.
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("x-pilothouse-wildcard")
  local asked = headers:get("x-pilothouse-host") or ""
  local hostname = asked:lower():match("^[^:]*")
  if hostname ~= asked then
    headers:replace("x-pilothouse-host", hostname)
    handle:clearRouteCache()
    -- Finds the route, which nothing else in a script does, and once for each script.
    handle:metadata()
    if handle:streamInfo():routeName() ~= "" then return end
  end
  headers:replace("x-pilothouse-wildcard", hostname)
  headers:replace("x-pilothouse-host", "*.*")
  handle:clearRouteCache()
end
