"""The rule of `window`, and the other limits, as Redis counts them.

One script decides and counts, so nothing comes between. It reads the server's clock, which every process
shares. Times are whole microseconds.
"""

# KEYS: accepted, bursts, leases, day, spent, since. `seen` is the latest time: a clock that goes back stands
# still. By more than a minute, it was wrong before: what it counted then would otherwise hold until that time
# comes. `spent` is what was read from the ledger and counted since; `since` what was counted since the
# reading that goes on began, so that its result does not hide it. Each has the day that it is for.
_CLOCK = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local seen = tonumber(redis.call('HGET', KEYS[4], 'seen') or 0)
if seen > now + 60e6 then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[5])
else
  now = math.max(now, seen)
end
redis.call('HSET', KEYS[4], 'seen', now)
redis.call('EXPIRE', KEYS[4], 172800)
local function keep_leases(length)
  local ms = math.ceil(length / 1000)
  if redis.call('PTTL', KEYS[3]) < ms then redis.call('PEXPIRE', KEYS[3], ms) end
end
local today = math.floor(now / 86400e6)
local function thought()
  if today ~= tonumber(redis.call('HGET', KEYS[4], 'day')) then
    redis.call('HSET', KEYS[4], 'day', today, 'thought', 0)
  end
  return tonumber(redis.call('HGET', KEYS[4], 'thought'))
end
"""

# ARGV:
#  1    now; '' means the clock of Redis
#  2    the lease that is wanted; '' only asks for the standing
#  3-6  sustained rate, burst rate, burst seconds, choices at once
#  7    tokens of reasoning a day; '' if they do not matter
#  8    the duration of a lease
#  9    the lease of a request that is not counted any more; '' if there is none
#  10   the budgets as JSON; '' if there are none
#  11-  the leases of the request's further choices, since each choice has its own: those that are wanted with
#       the lease of 2 or, without it, those that belong to the lease of 9
#
# Returns the limit that refuses, or 0; the seconds to wait, or which budget refuses; remaining; reset; and 1
# if what was spent should be read again. The limit 5 means that it must be read before budgets can be judged:
# then nothing is counted.
ADMIT = (
    _CLOCK
    + """
local lease, sustained, burst = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local burst_seconds, concurrency, quota = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local second = math.floor(now / 1e6)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 60e6)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', second - 3600)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('ZREM', KEYS[1], ARGV[9])
redis.call('ZREM', KEYS[3], ARGV[9])
for i = 11, lease == '' and #ARGV or 0 do redis.call('ZREM', KEYS[3], ARGV[i]) end
local n, spent = redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2])

local function score(key, rank)
  return tonumber(redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2])
end

local is_old = 0
local function reply(limit, wait)
  local reset = n > 0 and math.ceil((score(KEYS[1], -1) + 60e6 - now) / 1e6) or 0
  return {limit, wait, math.max(0, sustained - n), reset, is_old}
end

local function next_accepted()
  local at = score(KEYS[1], n - sustained) + 60e6
  if burst <= sustained then return at end
  local in_burst = n >= burst and score(KEYS[1], n - burst) + 60e6 or now
  if spent >= burst_seconds then
    in_burst = math.max(in_burst, (score(KEYS[2], spent - burst_seconds) + 3600) * 1e6)
  end
  return math.min(at, in_burst)
end

if lease == '' then return reply(0, 0) end
-- Another server took this lease and was lost: the request is counted already, and the lease is taken over.
if redis.call('ZSCORE', KEYS[3], lease) then
  redis.call('ZADD', KEYS[3], now + ARGV[8], lease)
  for i = 11, #ARGV do redis.call('ZADD', KEYS[3], now + ARGV[8], ARGV[i]) end
  keep_leases(ARGV[8])
  return reply(0, 0)
end
if n >= sustained and (n >= burst or spent >= burst_seconds) then
  return reply(1, math.max(1, math.ceil((next_accepted() - now) / 1e6)))
end
if redis.call('ZCARD', KEYS[3]) + #ARGV - 9 > concurrency then return reply(2, 1) end
if quota and thought() >= quota then
  return reply(3, math.max(1, math.ceil(((today + 1) * 86400e6 - now) / 1e6)))
end
if ARGV[10] ~= '' then
  local asked = cjson.decode(ARGV[10])
  local function begin_reading()
    redis.call('DEL', KEYS[6])
    redis.call('HSET', KEYS[6], 'day', asked.day, 'begun', now)
    redis.call('EXPIRE', KEYS[6], 172800)
  end
  if asked.again or redis.call('HGET', KEYS[5], 'day') ~= asked.day then
    local begun = redis.call('HGET', KEYS[6], 'begun')
    -- Another process may be reading already: then what was counted since it began is needed.
    local is_reading = begun and now - begun < asked.patience_us
    if not is_reading or redis.call('HGET', KEYS[6], 'day') ~= asked.day then begin_reading() end
    return reply(5, 0)
  end
  if now - tonumber(redis.call('HGET', KEYS[5], 'read')) >= asked.fresh_us then
    redis.call('HSET', KEYS[5], 'read', now)
    begin_reading()
    is_old = 1
  end
  for i, budget in ipairs(asked.budgets) do
    local tokens = 0
    for _, field in ipairs(budget.fields) do
      tokens = tokens + tonumber(redis.call('HGET', KEYS[5], field) or 0)
    end
    if tokens >= budget.limit then return reply(4, i) end
  end
end
if n >= sustained then
  redis.call('ZADD', KEYS[2], second, second)
  redis.call('EXPIRE', KEYS[2], 3601)
end
redis.call('ZADD', KEYS[1], now, lease)
redis.call('EXPIRE', KEYS[1], 61)
redis.call('ZADD', KEYS[3], now + ARGV[8], lease)
for i = 11, #ARGV do redis.call('ZADD', KEYS[3], now + ARGV[8], ARGV[i]) end
keep_leases(ARGV[8])
n = n + 1
return reply(0, 0)
"""
)

# ARGV: now, thinking tokens, then, as JSON, what else was spent, or nothing; then leases: to be renewed for
# ARGV[3] microseconds, or, if that is 0, ended. Where nothing was read nor is being read, the account has no
# budgets.
SETTLE = (
    _CLOCK
    + """
if tonumber(ARGV[2]) > 0 then
  thought()
  redis.call('HINCRBY', KEYS[4], 'thought', ARGV[2])
end
local length = tonumber(ARGV[3])
if ARGV[4] ~= '' then
  local spent = cjson.decode(ARGV[4])
  local function count(key, fields)
    for field, tokens in pairs(fields) do redis.call('HINCRBY', key, field, tokens) end
  end
  for _, key in ipairs({KEYS[5], KEYS[6]}) do
    local day = redis.call('HGET', key, 'day')
    if day and string.sub(day, 1, 7) == string.sub(spent.day, 1, 7) then count(key, spent.month) end
    if day == spent.day then count(key, spent.today) end
  end
end
for i = 5, #ARGV do
  if length > 0 then
    redis.call('ZADD', KEYS[3], 'XX', now + length, ARGV[i])
  else
    redis.call('ZREM', KEYS[3], ARGV[i])
  end
end
if length > 0 then keep_leases(length) end
return 0
"""
)

# What was read from the ledger replaces what was counted. ARGV: now; the day; by how many microseconds the
# reading is older than now; 1 if it must not replace another reading of that day; then fields and tokens in
# turn.
SPENT = (
    _CLOCK
    + """
if ARGV[4] == '1' and redis.call('HGET', KEYS[5], 'day') == ARGV[2] then return 0 end
redis.call('DEL', KEYS[5])
redis.call('HSET', KEYS[5], 'day', ARGV[2], 'read', now - tonumber(ARGV[3]))
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
if redis.call('HGET', KEYS[6], 'day') == ARGV[2] then
  redis.call('HDEL', KEYS[6], 'begun')
  local since = redis.call('HGETALL', KEYS[6])
  for i = 1, #since, 2 do
    if since[i] ~= 'day' then redis.call('HINCRBY', KEYS[5], since[i], since[i + 1]) end
  end
end
redis.call('EXPIRE', KEYS[5], 172800)
return 0
"""
)
