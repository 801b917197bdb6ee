-- XXH3 (64 bit, no seed, default secret) over a string, as 16 lower-case hexadecimal digits: the digest of Redis 8.4.
-- A 64-bit number is a pair (high, low) of unsigned 32-bit halves; Lua's doubles hold products of 48 bits exactly.
local digest
do
  local byte, floor = string.byte, math.floor
  local xor32, shl, shr = bit.bxor, bit.lshift, bit.rshift
  local TWO32, TWO16 = 4294967296, 65536

  local secret = 
    'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221' ..
    'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' ..
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb' ..
    '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e'
  secret = secret:gsub('..', function(digits) return string.char(tonumber(digits, 16)) end)

  local function xor(a, b) return xor32(a, b) % TWO32 end

  local function read32(s, at)
    local a, b, c, d = byte(s, at + 1, at + 4)
    return a + b * 256 + c * TWO16 + d * 16777216
  end

  local function read64(s, at) return read32(s, at + 4), read32(s, at) end

  local function bswap32(x) return bit.bswap(x) % TWO32 end

  local function add(ah, al, bh, bl)
    local low = al + bl
    if low >= TWO32 then return (ah + bh + 1) % TWO32, low - TWO32 end
    return (ah + bh) % TWO32, low
  end

  -- 32 x 32 -> 64
  local function mul32(a, b)
    local a0 = a % TWO16
    local low, high = a0 * b, (a - a0) / TWO16 * b
    local carried = high % TWO16
    low = low + carried * TWO16
    local word = low % TWO32
    return (high - carried) / TWO16 + (low - word) / TWO32, word
  end

  -- 64 x 64 -> the low 64
  local function mul(ah, al, bh, bl)
    local high, low = mul32(al, bl)
    local _, cross1 = mul32(al, bh)
    local _, cross2 = mul32(ah, bl)
    return (high + cross1 + cross2) % TWO32, low
  end

  -- 64 x 64 -> 128, the two halves folded by xor
  local function mul_fold(ah, al, bh, bl)
    local h0, l0 = mul32(al, bl)
    local h1, l1 = mul32(al, bh)
    local h2, l2 = mul32(ah, bl)
    local h3, l3 = mul32(ah, bh)
    local second = h0 + l1 + l2
    local word1 = second % TWO32
    local third = h1 + h2 + l3 + (second - word1) / TWO32
    local word2 = third % TWO32
    local word3 = h3 + (third - word2) / TWO32
    return xor(word1, word3), xor(l0, word2)
  end

  -- x ^ (x >> n)
  local function xor_shift(h, l, n)
    if n == 32 then return h, xor(l, h) end
    if n > 32 then return h, xor(l, shr(h, n - 32)) end
    return xor(h, shr(h, n)), xor(l, bit.bor(shr(l, n), shl(h, 32 - n)))
  end

  local function avalanche(h, l)
    h, l = xor_shift(h, l, 37)
    h, l = mul(h, l, 0x16566791, 0x9E3779F9)
    return xor_shift(h, l, 32)
  end

  local function avalanche64(h, l)
    h, l = xor_shift(h, l, 33)
    h, l = mul(h, l, 0xC2B2AE3D, 0x27D4EB4F)
    h, l = xor_shift(h, l, 29)
    h, l = mul(h, l, 0x165667B1, 0x9E3779F9)
    return xor_shift(h, l, 32)
  end

  local function secret_pair(at)
    local ah, al = read64(secret, at)
    local bh, bl = read64(secret, at + 8)
    return xor(ah, bh), xor(al, bl)
  end

  local function mix16(s, at, key)
    local ah, al = read64(s, at)
    local bh, bl = read64(s, at + 8)
    local kh, kl = read64(secret, key)
    local mh, ml = read64(secret, key + 8)
    return mul_fold(xor(ah, kh), xor(al, kl), xor(bh, mh), xor(bl, ml))
  end

  local function up_to_16(s, n)
    if n == 0 then return avalanche64(secret_pair(56)) end
    if n <= 3 then
      local first, middle, last = byte(s, 1), byte(s, floor(n / 2) + 1), byte(s, n)
      local combined = first * TWO16 + middle * 16777216 + last + n * 256
      return avalanche64(0, xor(combined, xor(read32(secret, 0), read32(secret, 4))))
    end
    if n <= 8 then
      local fh, fl = secret_pair(8)
      local h, l = xor(read32(s, 0), fh), xor(read32(s, n - 4), fl)
      -- rotated left by 49 and by 24
      local ah = xor(bit.bor(shl(l, 17), shr(h, 15)), bit.bor(shl(h, 24), shr(l, 8)))
      local al = xor(bit.bor(shl(h, 17), shr(l, 15)), bit.bor(shl(l, 24), shr(h, 8)))
      h, l = xor(h, ah), xor(l, al)
      h, l = mul(h, l, 0x9FB21C65, 0x1E98DF25)
      local sh, sl = add(0, shr(h, 3) % TWO32, 0, n)
      h, l = xor(h, sh), xor(l, sl)
      h, l = mul(h, l, 0x9FB21C65, 0x1E98DF25)
      return xor_shift(h, l, 28)
    end
    local f1h, f1l = secret_pair(24)
    local f2h, f2l = secret_pair(40)
    local ah, al = read64(s, 0)
    local bh, bl = read64(s, n - 8)
    ah, al, bh, bl = xor(ah, f1h), xor(al, f1l), xor(bh, f2h), xor(bl, f2l)
    local h, l = add(0, n, bswap32(al), bswap32(ah))
    h, l = add(h, l, bh, bl)
    return avalanche(add(h, l, mul_fold(ah, al, bh, bl)))
  end

  local function up_to_240(s, n)
    local h, l = mul(0, n, 0x9E3779B1, 0x85EBCA87)
    if n <= 128 then
      for i = floor((n - 1) / 32), 0, -1 do
        h, l = add(h, l, mix16(s, 16 * i, 32 * i))
        h, l = add(h, l, mix16(s, n - 16 * (i + 1), 32 * i + 16))
      end
      return avalanche(h, l)
    end
    for i = 0, 7 do h, l = add(h, l, mix16(s, 16 * i, 16 * i)) end
    h, l = avalanche(h, l)
    for i = 8, floor(n / 16) - 1 do h, l = add(h, l, mix16(s, 16 * i, 16 * (i - 8) + 3)) end
    return avalanche(add(h, l, mix16(s, n - 16, 119)))
  end

  local function long(s, n)
    local high = { 0x00000000, 0x9E3779B1, 0xC2B2AE3D, 0x165667B1, 0x85EBCA77, 0x00000000, 0x27D4EB2F, 0x00000000 }
    local low = { 0xC2B2AE3D, 0x85EBCA87, 0x27D4EB4F, 0x9E3779F9, 0xC2B2AE63, 0x85EBCA77, 0x165667C5, 0x9E3779B1 }
    -- the secret's words at every offset a stripe can use
    local key_high, key_low = {}, {}
    for at = 0, 184 do key_high[at], key_low[at] = read64(secret, at) end

    local function accumulate(at, key)
      for i = 1, 8 do
        local dl, dh = read32(s, at + 8 * i - 8), read32(s, at + 8 * i - 4)
        local lane = key + 8 * i - 8
        local other = i % 2 == 1 and i + 1 or i - 1
        high[other], low[other] = add(high[other], low[other], dh, dl)
        high[i], low[i] = add(high[i], low[i], mul32(xor(dl, key_low[lane]), xor(dh, key_high[lane])))
      end
    end

    local blocks = floor((n - 1) / 1024)
    for block = 0, blocks - 1 do
      for stripe = 0, 15 do accumulate(1024 * block + 64 * stripe, 8 * stripe) end
      for i = 1, 8 do
        local h, l = xor_shift(high[i], low[i], 47)
        high[i], low[i] = mul(xor(h, key_high[120 + 8 * i]), xor(l, key_low[120 + 8 * i]), 0, 0x9E3779B1)
      end
    end
    for stripe = 0, floor((n - 1 - 1024 * blocks) / 64) - 1 do accumulate(1024 * blocks + 64 * stripe, 8 * stripe) end
    accumulate(n - 64, 121)

    local h, l = mul(0, n, 0x9E3779B1, 0x85EBCA87)
    for i = 0, 3 do
      local a, b, key = 2 * i + 1, 2 * i + 2, 11 + 16 * i
      h, l = add(h, l, mul_fold(
        xor(high[a], key_high[key]), xor(low[a], key_low[key]),
        xor(high[b], key_high[key + 8]), xor(low[b], key_low[key + 8])))
    end
    return avalanche(h, l)
  end

  function digest(s)
    local n, h, l = #s, nil, nil
    if n <= 16 then h, l = up_to_16(s, n)
    elseif n <= 240 then h, l = up_to_240(s, n)
    else h, l = long(s, n) end
    return bit.tohex(h) .. bit.tohex(l)
  end
end
