-- Gives metrics of requests and streams the names and labels that Istio's have. Envoy counts by few tags, in which what
-- belongs together is one text; here each of its parts becomes a label.

local UNKNOWN = "unknown"

local function part(text, default)
  if text == nil or text == "" or text == "-" then return default or UNKNOWN end
  return text
end

-- The parts between semicolons; the last has all that remains.
local function parts(text, count)
  local found, from = {}, 1
  for n = 1, count do
    local at = n < count and text:find(";", from, true) or nil
    found[n] = text:sub(from, at and at - 1)
    if not at then break end
    from = at + 1
  end
  return found
end

-- A gateway at the edge tells of itself, with a tilde before its identity, and knows nothing of how it is heard.
local function caller(text)
  local of = parts(text, 5)
  local principal, tells_of_itself = part(of[5]):gsub("^~", "")
  local reporter, security = "waypoint", "mutual_tls"
  if tells_of_itself == 1 then reporter, security = "source", UNKNOWN end
  local service, version = part(of[2]), part(of[3])
  return 'reporter="' .. reporter .. '",connection_security_policy="' .. security
    .. '",source_workload="' .. part(of[1])
    .. '",source_canonical_service="' .. service
    .. '",source_canonical_revision="' .. part(of[3], "latest")
    .. '",source_workload_namespace="' .. part(principal:match("/ns/([^/]*)/sa/"))
    .. '",source_principal="' .. principal
    .. '",source_app="' .. service
    .. '",source_version="' .. version
    .. '",source_cluster="' .. part(of[4]) .. '"'
end

local function workload(text)
  local of = parts(text, 5)
  local service = part(of[3])
  return 'destination_workload="' .. part(of[1])
    .. '",destination_workload_namespace="' .. part(of[2])
    .. '",destination_principal="' .. UNKNOWN
    .. '",destination_app="' .. service
    .. '",destination_version="' .. part(of[4])
    .. '",destination_canonical_service="' .. service
    .. '",destination_canonical_revision="' .. part(of[4], "latest")
    .. '",destination_cluster="' .. part(of[5]) .. '"'
end

-- Behind the service may be which labels are left out; they are so at the end, when all are there.
local function service(text)
  local named, omitted = text:match("^(.-);!([%w_,]*)$")
  local of = parts(named or text, 3)
  local labels = 'destination_service="' .. part(of[1])
    .. '",destination_service_name="' .. part(of[2])
    .. '",destination_service_namespace="' .. part(of[3]) .. '"'
  if omitted then labels = labels .. ',omitted="' .. omitted .. '"' end
  return labels
end

-- A histogram has the same texts in twenty lines.
local function remembered(of)
  local known = {}
  return function(text)
    local labels = known[text]
    if not labels then
      labels = of(text)
      known[text] = labels
    end
    return labels
  end
end

local TAGS = '{from="([^"]*)",to="([^"]*)",service="([^"]*)",'

local function labelled(text)
  local from, to, service = remembered(caller), remembered(workload), remembered(service)
  local function labels(name, protocol, caller, workload, called)
    return name .. "{" .. from(caller) .. "," .. to(workload) .. "," .. service(called)
      .. ',request_protocol="' .. protocol .. '",'
  end
  text = text:gsub("envoy_(istio_tcp_[a-z_]+)" .. TAGS, function(name, ...)
    return labels(name, "tcp", ...)
  end)
  text = text:gsub("envoy_(istio_re[a-z_]+)" .. TAGS .. 'grpc_response_status="([^"]*)",',
    function(name, caller, workload, called, status)
      local protocol = status == "" and "http" or "grpc"
      return labels(name, protocol, caller, workload, called) .. 'grpc_response_status="' .. status .. '",'
    end)
  return (text:gsub("# TYPE envoy_istio_", "# TYPE istio_"))
end

-- The end of a text in quotes that begins at a place; what is escaped ends none.
local function ending(text, from)
  while true do
    local at = text:find('["\\]', from)
    if not at or text:sub(at, at) == '"' then return at end
    from = at + 2
  end
end

-- The labels that remain, if any are left out.
local function remaining(labels)
  local omitted = labels:match('[,{]omitted="([%w_,]*)"')
  if not omitted then return labels end
  local out = { omitted = true }
  for name in omitted:gmatch("[%w_]+") do out[name] = true end
  local kept, set, from = {}, {}, 1
  while true do
    local at, open, name = labels:find('([%w_]+)="', from)
    if not at then break end
    local close = ending(labels, open + 1)
    if not close then break end
    local pair = labels:sub(at, close)
    -- A label that is set to something else has the name of the one that is left out, and comes after it.
    if not out[name] or set[name] then kept[#kept + 1] = pair end
    set[name] = true
    from = close + 2
  end
  return table.concat(kept, ",")
end

-- Leaves out labels, and adds up what then is the same.
local function merged(text)
  if not text:find('omitted="', 1, true) then return text end
  local lines, values, places = {}, {}, {}
  for line in text:gmatch("[^\n]+") do
    local name, labels, value = line:match("^(istio_[%w_]+){(.*)} (%S+)$")
    local number = tonumber(value)
    if not number then
      lines[#lines + 1] = line
    else
      local key = name .. "{" .. remaining(labels) .. "} "
      local place = places[key]
      if place then
        values[place] = values[place] + number
      else
        place = #lines + 1
        lines[place], values[place], places[key] = key, number, place
      end
    end
  end
  for place, number in pairs(values) do
    lines[place] = lines[place] .. (number % 1 == 0 and string.format("%.0f", number) or tostring(number))
  end
  return table.concat(lines, "\n") .. "\n"
end

function envoy_on_response(handle)
  local body = handle:body()
  local size = body and body:length() or 0
  if size > 0 then body:setBytes(merged(labelled(body:getBytes(0, size)))) end
end
