-- The load: one request per client at a time, its id fresh and its answer counted.
--
--   wrk … -s load.lua URL -- MODE SEED TOKEN [COUNT]
--
-- MODE  soft_delete  a new entity per request
--       restore      the entities that a soft_delete run with the same SEED made, COUNT of them
--       purge        the same, to be removed
--       hot          soft-delete and restore of one entity in turn; a 409, or a 404 before the first, is a refusal
--       get          whatever URL names
-- The last line printed is JSON. Anything but a 2xx (or a refusal in hot mode) is counted under `failed`.

local threads = {}
local format = string.format

local ffi = require("ffi")
ffi.cdef("struct timespec { long sec; long nsec; }; int clock_gettime(int clock, struct timespec *at);")
local at = ffi.new("struct timespec")

-- Seconds, of a clock that only goes forward.
local function clock()
    ffi.C.clock_gettime(1, at)
    return tonumber(at.sec) + tonumber(at.nsec) / 1e9
end

function setup(thread)
    thread:set("number", #threads)
    table.insert(threads, thread)
end

local mode, count
local made = 0
refused, failed, accepted, first, last = 0, 0, 0, 0, 0

local head, tail, deletion, undo

local function uuid()
    return format("%08x-%04x-4%03x-a%03x-%08x%04x", math.random(0, 4294967295), math.random(0, 65535),
        math.random(0, 4095), math.random(0, 4095), math.random(0, 4294967295), math.random(0, 65535))
end

local function body(id)
    return '{"id":"' .. id .. '","name":"nightly-db-17-2026-11-23","metadata":{"host":"db-17.example.org",'
        .. '"size":1073741824,"region":"eu-central-1"},"reason":"its retention period is over"}'
end

local function message(method, path, content)
    local common = method .. " " .. path .. " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " .. token .. "\r\n"
    if not content then
        return common .. "\r\n"
    end
    return common .. "Content-Type: application/json\r\nContent-Length: " .. #content .. "\r\n\r\n" .. content
end

function init(args)
    mode, token = args[1], args[3]
    math.randomseed(tonumber(args[2]) * 64 + number)
    for _ = 1, 16 do math.random() end
    count = tonumber(args[4] or "0")
    local path = wrk.path
    if mode == "soft_delete" then
        local whole = message("POST", path, body(string.rep("#", 36)))
        head, tail = whole:match("^(.-)" .. string.rep("#", 36) .. "(.*)$")
    elseif mode == "restore" then
        head, tail = message("POST", path .. "/" .. "#" .. "/restore"):match("^(.-)#(.*)$")
    elseif mode == "purge" then
        head, tail = message("DELETE", path .. "/" .. "#" .. "/purge"):match("^(.-)#(.*)$")
    elseif mode == "hot" then
        local id = uuid()
        deletion = message("POST", path, body(id))
        undo = message("POST", path .. "/" .. id .. "/restore")
    else
        head = message("GET", wrk.path)
        tail = nil
    end
end

function request()
    made = made + 1
    if made == 1 then first = clock() end
    if mode == "soft_delete" then
        return head .. uuid() .. tail
    elseif mode == "hot" then
        return made % 2 == 1 and deletion or undo
    elseif tail then
        if made >= count then wrk.thread:stop() end
        return head .. uuid() .. tail
    end
    return head
end

function response(status)
    last = clock()
    if status >= 200 and status < 300 then
        accepted = accepted + 1
    elseif mode == "hot" and (status == 409 or status == 404) then
        refused = refused + 1
    else
        failed = failed + 1
    end
end

function done(summary, latency, requests)
    local answered, refusals, failures, seconds = 0, 0, 0, 0
    for _, thread in ipairs(threads) do
        answered = answered + thread:get("accepted")
        refusals = refusals + thread:get("refused")
        failures = failures + thread:get("failed")
        -- wrk itself counts on until its time is over, even where a thread has nothing left to do.
        seconds = math.max(seconds, thread:get("last") - thread:get("first"))
    end
    local errors = summary.errors
    print(format('{"seconds":%.6f,"accepted":%d,"refused":%d,"failed":%d,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}',
        seconds, answered, refusals,
        failures + errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
