// Part of quickjs_millrace.c: a strict, fast pass over JSON text.

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The text must be followed by MR_PADDING readable bytes, the first of them NUL. */
#define MR_PADDING 16
#define MR_MAX_SCAN_DEPTH 256

/* What keeps a value from being written as it stands. */
#define MR_SPACES 1  /* white space between tokens */
#define MR_CHANGES 2 /* escapes, keys or an order that JSON.stringify would not write */

typedef struct MrScan {
  const uint8_t* at;
  const uint8_t* end;
  int depth;
} MrScan;

static inline int mr_skip_spaces(MrScan* s) {
  const uint8_t* start = s->at;
  while (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t') s->at++;
  return s->at == start ? 0 : MR_SPACES;
}

/* The first byte from `p` on that is not an ASCII character which stands for itself. */
static inline const uint8_t* mr_plain_end(const uint8_t* p) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i slash = _mm_set1_epi8('\\');
  const __m128i space = _mm_set1_epi8(' ');
  for (;;) {
    __m128i bytes = _mm_loadu_si128((const __m128i*)p);
    /* signed: also true of bytes from 0x80 on */
    __m128i found =
        _mm_or_si128(_mm_cmplt_epi8(bytes, space),
                     _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash)));
    int mask = _mm_movemask_epi8(found);
    if (mask) return p + __builtin_ctz(mask);
    p += 16;
  }
#else
  while (*p >= ' ' && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
#endif
}

/* The length of the UTF-8 character at `p`, which does not start with ASCII; 0: there is none. */
static inline int mr_utf8_length(const uint8_t* p) {
#define MR_TAIL(i) ((p[i] & 0xC0) == 0x80)
  if (p[0] >= 0xC2 && p[0] <= 0xDF) return MR_TAIL(1) ? 2 : 0;
  if ((p[0] & 0xF0) == 0xE0) {
    if (!MR_TAIL(1) || !MR_TAIL(2) || (p[0] == 0xE0 && p[1] < 0xA0) ||
        (p[0] == 0xED && p[1] >= 0xA0))
      return 0;
    return 3;
  }
  if (p[0] >= 0xF0 && p[0] <= 0xF4) {
    if (!MR_TAIL(1) || !MR_TAIL(2) || !MR_TAIL(3) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] >= 0x90))
      return 0;
    return 4;
  }
  return 0;
#undef MR_TAIL
}

static inline bool mr_is_hex(uint8_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* From behind the opening quote to behind the closing one. *plain: ASCII without escapes. -1:
 * invalid. */
static inline int mr_scan_string(MrScan* s, bool* plain) {
  const uint8_t* p = s->at;
  int flags = 0;
  *plain = true;
  for (;;) {
    p = mr_plain_end(p);
    if (*p == '"') {
      if (p >= s->end) return -1;
      s->at = p + 1;
      return flags;
    }
    *plain = false;
    if (*p == '\\') {
      uint8_t c = p[1];
      if (c == '"' || c == '\\' || c == 'n' || c == 'r' || c == 't' || c == 'b' || c == 'f') {
        p += 2;
      } else if (c == '/') {
        flags = MR_CHANGES;
        p += 2;
      } else if (c == 'u' && mr_is_hex(p[2]) && mr_is_hex(p[3]) && mr_is_hex(p[4]) &&
                 mr_is_hex(p[5])) {
        flags = MR_CHANGES;
        p += 6;
      } else {
        return -1;
      }
    } else {
      int length = *p >= 0x80 ? mr_utf8_length(p) : 0;
      if (length == 0 || p >= s->end) return -1;
      p += length;
    }
  }
}

static inline int mr_scan_number(MrScan* s) {
  const uint8_t* p = s->at;
  if (*p == '-') p++;
  if (*p == '0') {
    p++;
  } else {
    if (*p < '1' || *p > '9') return -1;
    while (*p >= '0' && *p <= '9') p++;
  }
  if (*p == '.') {
    p++;
    if (*p < '0' || *p > '9') return -1;
    while (*p >= '0' && *p <= '9') p++;
  }
  if (*p == 'e' || *p == 'E') {
    p++;
    if (*p == '+' || *p == '-') p++;
    if (*p < '0' || *p > '9') return -1;
    while (*p >= '0' && *p <= '9') p++;
  }
  s->at = p;
  return 0;
}

static inline uint32_t mr_key_hash(const uint8_t* key, size_t size) {
  uint64_t head, tail = 0;
  memcpy(&head, key, 8); /* a quote and padding follow */
  if (size < 8)
    head &= ((uint64_t)1 << (8 * size)) - 1;
  else
    memcpy(&tail, key + size - 8, 8);
  head = (head ^ (tail * 0x9E3779B97F4A7C15ULL) ^ size) * 0xD6E8FEB86659FD93ULL;
  return (uint32_t)(head >> 32);
}

static int mr_scan_value(MrScan* s);

/* Behind a member or an element: 1 where `close` ends the whole, 0 where another one follows, else
 * -1. */
static inline int mr_scan_next(MrScan* s, uint8_t close, int* flags) {
  *flags |= mr_skip_spaces(s);
  if (*s->at == close) {
    s->at++;
    return 1;
  }
  if (*s->at != ',') return -1;
  s->at++;
  *flags |= mr_skip_spaces(s);
  return 0;
}

static int mr_scan_object(MrScan* s) {
  uint32_t hashes[48];
  int count = 0, flags, part;
  s->at++;
  flags = mr_skip_spaces(s);
  if (*s->at == '}') {
    s->at++;
    return flags;
  }
  for (;;) {
    bool plain;
    const uint8_t* key;
    if (*s->at != '"') return -1;
    key = ++s->at;
    part = mr_scan_string(s, &plain);
    if (part < 0) return -1;
    flags |= part;
    /* Numbers come first, and of equal keys the last one counts: left to the engine. */
    if (*key >= '0' && *key <= '9') flags |= MR_CHANGES;
    if (!plain || count == countof(hashes)) {
      flags |= MR_CHANGES;
    } else {
      uint32_t hash = mr_key_hash(key, s->at - key - 1);
      for (int i = 0; i < count; i++) flags |= hashes[i] == hash ? MR_CHANGES : 0;
      hashes[count++] = hash;
    }
    flags |= mr_skip_spaces(s);
    if (*s->at != ':') return -1;
    s->at++;
    flags |= mr_skip_spaces(s);
    part = mr_scan_value(s);
    if (part < 0) return -1;
    flags |= part;
    part = mr_scan_next(s, '}', &flags);
    if (part != 0) return part < 0 ? -1 : flags;
  }
}

static int mr_scan_array(MrScan* s) {
  int flags, part;
  s->at++;
  flags = mr_skip_spaces(s);
  if (*s->at == ']') {
    s->at++;
    return flags;
  }
  for (;;) {
    part = mr_scan_value(s);
    if (part < 0) return -1;
    flags |= part;
    part = mr_scan_next(s, ']', &flags);
    if (part != 0) return part < 0 ? -1 : flags;
  }
}

/* Moves behind the value; its flags, or -1 where there is no valid one. */
static int mr_scan_value(MrScan* s) {
  bool plain;
  int flags;
  switch (*s->at) {
    case '"':
      s->at++;
      return mr_scan_string(s, &plain);
    case '{':
    case '[':
      if (s->depth >= MR_MAX_SCAN_DEPTH) return -1;
      s->depth++;
      flags = *s->at == '{' ? mr_scan_object(s) : mr_scan_array(s);
      s->depth--;
      return flags;
    case 't':
      if (memcmp(s->at, "true", 4)) return -1;
      s->at += 4;
      return 0;
    case 'f':
      if (memcmp(s->at, "false", 5)) return -1;
      s->at += 5;
      return 0;
    case 'n':
      if (memcmp(s->at, "null", 4)) return -1;
      s->at += 4;
      return 0;
    default:
      return mr_scan_number(s);
  }
}
