"""The scripts that Redis runs: the same arithmetic as `shapes`, by the server's clock.

A counter is a string of three whole numbers that expires once the whole limit is there again; slots
are a sorted set of leases, by when they end. All of Lua's numbers are floats, exact below 2**53.
Every key bears the tag {weir}, so that a cluster keeps all keys of one script in one place.
"""

from __future__ import annotations

from typing import Final

from gateway import Script

# What both scripts share. A rule is eight arguments: kind, limit, tick, window, unit, drain, amount
# and, to take, whether it is enforced ("1"), to give back, the epoch.
_HEAD: Final = """
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function floor(a, b) return (a - math.fmod(a, b)) / b end
local function ceil(a, b) return floor(a + b - 1, b) end

local function rule_at(i)
  local at = 2 + (i - 1) * 8
  local rule = {kind = ARGV[at + 1], limit = tonumber(ARGV[at + 2]), tick = tonumber(ARGV[at + 3]),
    window = tonumber(ARGV[at + 4]), unit = tonumber(ARGV[at + 5]), drain = tonumber(ARGV[at + 6]),
    amount = tonumber(ARGV[at + 7]), last = ARGV[at + 8]}
  rule.full = rule.limit * rule.unit
  rule.most = rule.full * 9
  rule.now = floor(now_us, rule.tick)
  return rule
end

-- A counter, brought up to now: level and when it was so, or start, used and used before.
local function load(key, rule)
  local a, b, c = 0, 0, 0
  local text = redis.call('GET', key)
  if text then
    local x, y, z = string.match(text, '^(%d+) (%d+) (%d+)$')
    a, b, c = tonumber(x), tonumber(y), tonumber(z)
  end
  local now = rule.now
  if rule.kind == 'bucket' then
    if now > b then
      a = math.max(a - (now - b) * rule.drain, 0)
      b = now
    end
    return {a, b, c}
  end
  if not text then a = now end
  if now < a then now = a end
  rule.now = now
  local is_sliding = rule.kind == 'sliding'
  if now >= a + rule.window then
    local passed = floor(now - a, rule.window)
    if is_sliding then
      c = math.min(math.max(b - (passed - 1) * rule.limit, 0), rule.limit)
    end
    b = math.max(b - passed * rule.limit, 0)
    a = a + passed * rule.window
    if not is_sliding and b == 0 then a = now end
  end
  if b == 0 and c == 0 then a = now end
  return {a, b, c}
end

local function room(state, rule)
  if rule.kind == 'bucket' then
    local left = rule.full - state[1]
    if left >= 0 then return floor(left, rule.unit) end
    return -ceil(-left, rule.unit)
  end
  local left = rule.limit - state[2]
  if rule.kind == 'sliding' then
    left = left - ceil(state[3] * (state[1] + rule.window - rule.now), rule.window)
  end
  return left
end

-- Keep it for as long as it says anything.
local function save(key, state, rule)
  local ticks
  if rule.kind == 'bucket' then
    ticks = ceil(state[1], rule.drain)
  else
    local windows = ceil(state[2], rule.limit)
    if rule.kind == 'sliding' and state[2] + state[3] > 0 then windows = windows + 1 end
    ticks = 0
    if windows > 0 then ticks = state[1] + windows * rule.window - rule.now end
  end
  if ticks <= 0 then
    redis.call('DEL', key)
    return
  end
  redis.call('SET', key, string.format('%.0f %.0f %.0f', state[1], state[2], state[3]),
    'PX', string.format('%.0f', ceil(ticks * rule.tick, 1000) + 1))
end
"""

# ARGV: the request's name, how long a lease lasts (microseconds), the rules. Gives, as one text,
# which is read sooner than a list: the number of the rule that refuses (0 for none), the time, and
# of each rule its numbers before and whether it fitted.
TAKE: Final = Script(
    _HEAD
    + """
local id, lease_us = ARGV[1], tonumber(ARGV[2])
local rules, states, fits = {}, {}, {}
local refusing = 0
for i, key in ipairs(KEYS) do
  local rule = rule_at(i)
  local left
  if rule.kind == 'slots' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now_us))
    states[i] = {redis.call('ZCARD', key), 0, 0}
    left = rule.limit - states[i][1]
  else
    states[i] = load(key, rule)
    left = room(states[i], rule)
  end
  rules[i] = rule
  fits[i] = rule.amount <= left
  if not fits[i] and rule.last == '1' and refusing == 0 then refusing = i end
end
local reply = {refusing, string.format('%.0f', now_us)}
for i, key in ipairs(KEYS) do
  local rule, state = rules[i], states[i]
  reply[#reply + 1] = string.format('%.0f %.0f %.0f %d', state[1], state[2], state[3],
    fits[i] and 1 or 0)
  if refusing == 0 and fits[i] then
    if rule.kind == 'slots' then
      redis.call('ZADD', key, string.format('%.0f', now_us + lease_us), id)
      redis.call('PEXPIRE', key, string.format('%.0f', ceil(lease_us, 1000) + 1))
    else
      if rule.kind == 'bucket' then state[1] = state[1] + rule.amount * rule.unit
      else state[2] = state[2] + rule.amount end
      save(key, state, rule)
    end
  end
end
return table.concat(reply, ' ')
"""
)

# ARGV: the request's name, nothing, the rules with what each gets back; negative is used besides.
GIVE: Final = Script(
    _HEAD
    + """
for i, key in ipairs(KEYS) do
  local rule = rule_at(i)
  local back = rule.amount
  if rule.kind == 'slots' then
    redis.call('ZREM', key, ARGV[1])
  else
    local state = load(key, rule)
    local epoch = tonumber(rule.last)
    if rule.kind == 'bucket' then
      state[1] = math.min(math.max(state[1] - back * rule.unit, 0), rule.most)
    elseif back < 0 or epoch == state[1] then
      state[2] = math.min(math.max(state[2] - back, 0), rule.most)
    elseif rule.kind == 'sliding' and epoch == state[1] - rule.window then
      state[3] = math.max(state[3] - back, 0)
    end
    save(key, state, rule)
  end
end
"""
)

# ARGV: how long a lease lasts, then a name for each key. What expired is leased again.
RENEW: Final = Script("""
local time = redis.call('TIME')
local lease_us = tonumber(ARGV[1])
local ends = tonumber(time[1]) * 1000000 + tonumber(time[2]) + lease_us
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, string.format('%.0f', ends), ARGV[i + 1])
  redis.call('PEXPIRE', key, string.format('%.0f', lease_us / 1000 + 1))
end
""")
