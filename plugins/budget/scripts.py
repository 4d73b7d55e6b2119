"""The scripts that Redis runs: the arithmetic of `counters`, by the server's clock.

Of each rule and subject Redis has a hash (`c`) with what was spent and is reserved in each span or
step ("s" and "r" with its epoch), how far alerts were told ("t") and the generation ("g"); and of
the requests that hold something what they hold (`h`) and when their leases end (`l`). Of each rule
it has a marker (`m`) and an index (`i`) of its subjects by when they count no more.

A marker is "d", or "r" while somebody reads what was spent before, with the generation, a moment
and who reads. Counters of another generation than the marker's are void. All of Lua's numbers are
floats, exact below 2**53; times are milliseconds, and every key bears the tag {weir}, so that a
cluster keeps all keys of one script in one place.
"""

from __future__ import annotations

from typing import Final

from gateway import Script

# A marker outlives every window.
_MARKED_MS: Final = 400 * 24 * 3_600_000

CLOCK: Final = f"""
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local MARKED = {_MARKED_MS}
local function whole(number) return string.format('%.0f', number) end
"""

# A rule has five keys (c, h, l, m, i), and first of its arguments its span: "c" and when the
# calendar's present one began, when it ends, and the next; or "r", the length of a step and how
# many count beside the present one.
HEAD: Final = (
    CLOCK
    + """
local function rule_at(place, at)
  local first = (place - 1) * 5
  return {c = KEYS[first + 1], h = KEYS[first + 2], l = KEYS[first + 3], m = KEYS[first + 4],
    i = KEYS[first + 5], kind = ARGV[at], x = tonumber(ARGV[at + 1]), y = tonumber(ARGV[at + 2]),
    z = tonumber(ARGV[at + 3])}
end

-- Find the span of now. False where it is none of those that are known to who asks.
local function span(rule)
  if rule.kind == 'r' then
    rule.epoch = math.floor(now / rule.x)
    rule.oldest = rule.epoch - rule.y
    rule.ends = (rule.epoch + rule.y + 1) * rule.x
    rule.told = 't'
    return true
  end
  if now >= rule.x and now < rule.y then
    rule.epoch, rule.ends = rule.x, rule.y
  elseif now >= rule.y and now < rule.z then
    rule.epoch, rule.ends = rule.y, rule.z
  else
    return false
  end
  rule.oldest = rule.epoch
  rule.told = 't' .. whole(rule.epoch)
  return true
end

-- Where there is nobody to read anything from, counting begins at once.
local function mark(rule, reads)
  local text = redis.call('GET', rule.m)
  if not text and reads ~= '1' then
    text = 'd ' .. whole(now_us) .. ' 0'
    redis.call('SET', rule.m, text, 'PX', MARKED)
  end
  if not text then return end
  local state, generation, moment = string.match(text, '^(%a) (%d+) (%d+)')
  rule.state, rule.generation, rule.moment = state, generation, tonumber(moment)
end

local function add(rule, what, epoch, amount)
  local field = what .. whole(epoch)
  rule.has[field] = (rule.has[field] or 0) + amount
  rule[what] = rule[what] + amount
  redis.call('HINCRBY', rule.c, field, whole(amount))
end

-- What a request held is free again, unless its step is over.
local function free(rule, id)
  local text = redis.call('HGET', rule.h, id)
  if not text then return end
  redis.call('HDEL', rule.h, id)
  redis.call('ZREM', rule.l, id)
  local epoch, amount = string.match(text, '^(%d+) (%d+)$')
  if rule.has['r' .. epoch] then add(rule, 'r', tonumber(epoch), -tonumber(amount)) end
end

-- Read a counter as of now: without the spans that are over and the leases that have ended.
local function load(rule)
  rule.has, rule.s, rule.r, rule.t = {}, 0, 0, -1
  local raw = redis.call('HGETALL', rule.c)
  for j = 1, #raw, 2 do
    if raw[j] == 'g' then rule.was = raw[j + 1] end
  end
  if rule.was ~= rule.generation then
    redis.call('DEL', rule.c, rule.h, rule.l)
    return
  end
  for j = 1, #raw, 2 do
    local what, epoch = string.match(raw[j], '^([rst])(%d*)$')
    if epoch and epoch ~= '' and tonumber(epoch) < rule.oldest then
      redis.call('HDEL', rule.c, raw[j])
    elseif raw[j] == rule.told then
      rule.t = tonumber(raw[j + 1])
    elseif what == 'r' or what == 's' then
      rule.has[raw[j]] = tonumber(raw[j + 1])
      rule[what] = rule[what] + tonumber(raw[j + 1])
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', rule.l, '-inf', whole(now))) do free(rule, id) end
end

local function hold(rule, id, epoch, amount, lease)
  redis.call('HSET', rule.h, id, whole(epoch) .. ' ' .. whole(amount))
  redis.call('ZADD', rule.l, whole(now + lease), id)
end

-- Keep it for as long as it says anything.
local function save(rule, subject)
  redis.call('HSET', rule.c, 'g', rule.generation)
  for _, key in ipairs({rule.c, rule.h, rule.l, rule.i}) do
    redis.call('PEXPIREAT', key, whole(rule.ends))
  end
  if subject then
    redis.call('ZREMRANGEBYSCORE', rule.i, '-inf', whole(now))
    redis.call('ZADD', rule.i, whole(rule.ends), subject)
    redis.call('PEXPIREAT', rule.i, whole(rule.ends))
  end
end

local function steps(rule)
  local found = {}
  for field, spent in pairs(rule.has) do
    local epoch = string.match(field, '^s(%d+)$')
    if epoch then
      found[#found + 1] = {tonumber(epoch), rule.has['r' .. epoch] or 0, spent}
    elseif not rule.has['s' .. string.sub(field, 2)] then
      found[#found + 1] = {tonumber(string.sub(field, 2)), spent, 0}
    end
  end
  table.sort(found, function(one, other) return one[1] < other[1] end)
  return found
end

-- The highest alert that has been come past.
local function reached(rule, thresholds)
  local highest = -1
  for text in string.gmatch(thresholds, '%d+') do
    if tonumber(text) <= rule.s then highest = math.max(highest, tonumber(text)) end
  end
  return highest
end
"""
)

STALE: Final = -1
UNREAD: Final = -2
# ARGV: the request's name, how long its lease lasts, whether there is a ledger ("1"), and of each
# rule its span, limit, whether it refuses ("1"), how much the request is to hold in all, the epoch
# of what it holds (empty where it is new) and the subject. Gives the number of the rule that
# refuses (0 for none; STALE where the spans are not those of now, UNREAD where what was spent
# before has not been read), the time, and of each rule what was spent and is reserved now, the
# epoch of the hold, the generation, and the steps; of a rule that refuses all of them, else the
# oldest.
TAKE: Final = Script(
    HEAD
    + """
local id, lease, reads = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local rules = {}
for place = 1, #KEYS / 5 do
  local at = 4 + (place - 1) * 9
  local rule = rule_at(place, at)
  if not span(rule) then return {-1, now_us} end
  mark(rule, reads)
  if rule.state ~= 'd' then return {-2, now_us} end
  rule.limit, rule.refuses = tonumber(ARGV[at + 4]), ARGV[at + 5]
  rule.amount = tonumber(ARGV[at + 6])
  rule.of, rule.subject = tonumber(ARGV[at + 7]) or rule.epoch, ARGV[at + 8]
  rules[place] = rule
end
local refusing = 0
for place, rule in ipairs(rules) do
  load(rule)
  local before = redis.call('HGET', rule.h, id)
  rule.more = rule.amount
  if before then
    local epoch, amount = string.match(before, '^(%d+) (%d+)$')
    rule.of, rule.more = tonumber(epoch), rule.amount - tonumber(amount)
  end
  if rule.of < rule.oldest then
    rule.more, rule.is_over = 0, true
  end
  if rule.refuses == '1' and rule.more > 0 and rule.more > rule.limit - rule.s - rule.r
      and refusing == 0 then
    refusing = place
  end
end
local reply = {refusing, now_us}
for place, rule in ipairs(rules) do
  if refusing == 0 and not rule.is_over and (rule.amount ~= 0 or rule.more ~= 0) then
    hold(rule, id, rule.of, rule.amount, lease)
    add(rule, 'r', rule.of, rule.more)
    save(rule, rule.subject)
  end
  local found = steps(rule)
  if refusing ~= place then found = {found[1]} end
  reply[2 + place] = {rule.s, rule.r, rule.of, tonumber(rule.generation), found}
end
return reply
"""
)

# ARGV: the request's name, the number of this call, which is done once only, whether there is a
# ledger ("1"), when the request ended (microseconds, as its ledger says), what is known of its
# answer ("d" for good, "n" without a cost, "e" by a guess; behind that "r" where it was asked for
# again: of two that were not, both count), and of each rule its span, the epoch, how much was
# spent, the generation, the alerts, and the subject. The last keys are the process's, and the
# answer's where it has one. Gives the time, and of each rule what was spent, what is reserved, the
# epoch, and whether there is an alert to tell; the time alone if it was done before.
GIVE: Final = Script(
    HEAD
    + """
local id, number, reads, ended_us, answer = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]),
  ARGV[5]
local count = math.floor(#KEYS / 5)
local last = KEYS[count * 5 + 1]
if tonumber(redis.call('GET', last) or 0) >= number then return {now_us} end
redis.call('SET', last, whole(number), 'PX', 86400000)
local known, before = KEYS[count * 5 + 2], nil
local is_poll = string.sub(answer, 2) == 'r'
answer = string.sub(answer, 1, 1)
if known then before = redis.call('HGET', known, 'is') end
local is_other = before and not is_poll and redis.call('HGET', known, 'poll') ~= '1'
local reply = {now_us}
for place = 1, count do
  local at = 6 + (place - 1) * 9
  local rule = rule_at(place, at)
  local is_known = span(rule)
  mark(rule, reads)
  if not is_known or not rule.state then
    redis.call('HDEL', rule.h, id)
    redis.call('ZREM', rule.l, id)
    reply[1 + place] = {0, 0, 0, 0}
  else
    load(rule)
    free(rule, id)
    local epoch, spent = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    if known then
      local counted = spent
      if is_other then
        counted = nil
      elseif before == 'd' or (before and (answer == 'e' or (before == 'n' and answer == 'n'))) then
        spent, counted = 0, nil
      elseif before then
        spent = spent - tonumber(redis.call('HGET', known, rule.c) or 0)
      end
      if counted then redis.call('HSET', known, rule.c, whole(counted)) end
    end
    if rule.t >= 0 and rule.kind == 'r' then
      rule.t = math.min(rule.t, reached(rule, ARGV[at + 7]))
    end
    local was_told = rule.t
    if epoch >= rule.oldest and spent ~= 0
        and (ARGV[at + 6] == rule.generation or ended_us >= rule.moment) then
      add(rule, 's', epoch, spent)
    end
    local told = reached(rule, ARGV[at + 7])
    if told > was_told then rule.t = told end
    if next(rule.has) then
      if rule.t >= 0 then redis.call('HSET', rule.c, rule.told, whole(rule.t)) end
      save(rule, ARGV[at + 8])
    end
    reply[1 + place] = {rule.s, rule.r, rule.epoch, told > was_told and 1 or 0}
  end
end
if known and not is_other then
  local is = before
  if not before and is_poll then redis.call('HSET', known, 'poll', '1') end
  if not before or (before == 'e' and answer ~= 'e') or (before == 'n' and answer == 'd') then
    is = answer
    if before then is = 'd' end
  end
  redis.call('HSET', known, 'is', is)
  redis.call('PEXPIRE', known, 3600000)
end
return reply
"""
)

# ARGV: how long a lease lasts, and of each rule its span, the epoch, the amount, the request's name
# and the subject. What has expired, or was forgotten by the server, is held again.
RENEW: Final = Script(
    HEAD
    + """
local lease = tonumber(ARGV[1])
for place = 1, #KEYS / 5 do
  local at = 2 + (place - 1) * 8
  local rule = rule_at(place, at)
  mark(rule, '1')
  if span(rule) and rule.state then
    local epoch, amount, id = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), ARGV[at + 6]
    if redis.call('HEXISTS', rule.h, id) == 1 then
      redis.call('ZADD', rule.l, whole(now + lease), id)
    end
    load(rule)
    if epoch >= rule.oldest and redis.call('HEXISTS', rule.h, id) == 0 then
      hold(rule, id, epoch, amount, lease)
      add(rule, 'r', epoch, amount)
      save(rule, ARGV[at + 7])
    end
  end
end
return 1
"""
)

# KEYS: an index. ARGV: how many at most. Gives the subjects that count now.
LIST: Final = Script(
    CLOCK
    + """
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. whole(now), '+inf', 'LIMIT', 0, ARGV[1])
"""
)
