"""The scripts by which one process, and once, puts what was spent before into the shared store.

See `filling` for why, and `scripts` for what a marker is.
"""

from __future__ import annotations

from typing import Final

from gateway import Script

from .scripts import CLOCK, HEAD

# For how long counters stand that nobody has the rule of. Behind that they are read anew, because
# meanwhile something may have been spent that no rule counted.
_STANDS_MS: Final = 300_000

# KEYS: markers. ARGV: who asks, how far from now the moment is (microseconds), for how long it is
# theirs, and "1" where what has been read is read anew. Gives of each marker the moment where it is
# theirs to read, 1 where it has been read, and else 0.
CLAIM: Final = Script(
    CLOCK
    + """
local reply = {}
for place, key in ipairs(KEYS) do
  local text, is = redis.call('GET', key), 0
  if not text or (ARGV[4] == '1' and string.sub(text, 1, 1) == 'd') then
    local moment = whole(now_us + tonumber(ARGV[2]))
    text = 'r ' .. whole(now_us) .. ' ' .. moment .. ' ' .. ARGV[1]
    redis.call('SET', key, text, 'PX', ARGV[3])
  end
  local moment, whose = string.match(text, '^r %d+ (%d+) (%w+)$')
  if not moment then
    is = 1
  elseif whose == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[3])
    is = tonumber(moment)
  end
  reply[place] = is
end
return reply
"""
)

# One rule's. KEYS: its marker, its index, and the three of each counter. ARGV: the moment and who
# reads, its span, the alerts, and of each counter how many fields come and the subject, then epochs
# and amounts. Gives 1, or 0 where it is not theirs any more.
FILL: Final = Script(
    HEAD
    + """
local text = redis.call('GET', KEYS[1])
if not text or string.match(text, '^r %d+ (.+)$') ~= ARGV[1] then return 0 end
local at = 7
for place = 3, #KEYS, 3 do
  local rule = {c = KEYS[place], h = KEYS[place + 1], l = KEYS[place + 2], m = KEYS[1],
    i = KEYS[2], kind = ARGV[2], x = tonumber(ARGV[3]), y = tonumber(ARGV[4]),
    z = tonumber(ARGV[5])}
  if not span(rule) then return 0 end
  mark(rule, '1')
  load(rule)
  local count, subject = tonumber(ARGV[at]), ARGV[at + 1]
  for n = 1, count do
    local epoch, amount = tonumber(ARGV[at + 2 * n]), tonumber(ARGV[at + 2 * n + 1])
    if epoch >= rule.oldest then add(rule, 's', epoch, amount) end
  end
  at = at + 2 + 2 * count
  local told = reached(rule, ARGV[6])
  if next(rule.has) then
    if told >= 0 then redis.call('HSET', rule.c, rule.told, whole(told)) end
    save(rule, subject)
  end
end
return 1
"""
)

# KEYS: markers, and of the answers that were counted. ARGV: the moment and who has read, and how
# many markers there are. Gives how many are read now because of that.
DONE: Final = Script(
    f"local STANDS = {_STANDS_MS}\n"
    + CLOCK
    + """
local done = 0
for place, key in ipairs(KEYS) do
  if place > tonumber(ARGV[2]) then
    redis.call('HSET', key, 'is', 'd')
    redis.call('PEXPIRE', key, 3600000)
  else
    local text = redis.call('GET', key)
    local generation, rest = string.match(text or '', '^r (%d+) (.+)$')
    if rest == ARGV[1] then
      local moment = string.match(rest, '^%d+')
      redis.call('SET', key, 'd ' .. generation .. ' ' .. moment, 'PX', STANDS)
      done = done + 1
    end
  end
end
return done
"""
)

# KEYS: markers of rules that somebody has.
STAND: Final = Script(
    f"""
for _, key in ipairs(KEYS) do
  if string.sub(redis.call('GET', key) or '', 1, 1) == 'd' then
    redis.call('PEXPIRE', key, {_STANDS_MS})
  end
end
return 1
"""
)
