#include "libs/event/scan.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "libs/event/blocks.h"

namespace millrace::event::scan {
namespace {

// The next quote or backslash, or `end`.
const char* FindStringStop(const char* at, const char* end) {
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  while (end - at >= 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const auto hits = static_cast<uint32_t>(_mm_movemask_epi8(
        _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash))));
    if (hits != 0) return at + std::countr_zero(hits);
    at += 16;
  }
#endif
  while (at != end && *at != '"' && *at != '\\') ++at;
  return at;
}

// `at` stands on `{` or `[`.
const char* SkipNested(const char* at, const char* end, int* depth) {
  int level = 0;
  int deepest = 0;
  BlockState state;
  char last[64];
  for (; at < end; at += 64) {
    const char* bytes = at;
    if (end - at < 64) {
      std::memset(last, ' ', sizeof last);
      std::memcpy(last, at, static_cast<size_t>(end - at));
      bytes = last;
    }
    for (uint64_t left = TakeBlock(ReadBlock(bytes), &state).brackets; left != 0;
         left &= left - 1) {
      const int i = std::countr_zero(left);
      if (IsOpening(bytes[i])) {
        deepest = std::max(deepest, ++level);
      } else if (--level == 0) {
        if (depth != nullptr) *depth = std::max(*depth, deepest);
        return at + i + 1;
      }
    }
  }
  return nullptr;
}

std::string_view* FieldOf(EventFields& fields, std::string_view key) {
  const auto pick = [key](std::string_view name, std::string_view* field) {
    return key == name ? field : nullptr;
  };
  switch (key.size()) {
    case 4:
      return key[0] == 't' ? pick("type", &fields.type) : pick("name", &fields.name);
    case 5:
      return pick("event", &fields.event);
    case 6:
      if (key[0] == 'u') return pick("userId", &fields.user_id);
      return key[0] == 's' ? pick("sentAt", &fields.sent_at) : pick("traits", &fields.traits);
    case 7:
      if (key[0] == 'g') return pick("groupId", &fields.group_id);
      return key[1] == 'h' ? pick("channel", &fields.channel) : pick("context", &fields.context);
    case 8:
      return pick("writeKey", &fields.write_key);
    case 9:
      return key[0] == 'm' ? pick("messageId", &fields.message_id)
                           : pick("timestamp", &fields.timestamp);
    case 10:
      if (key[2] == 'e') return pick("previousId", &fields.previous_id);
      if (key[2] == 'c') return pick("receivedAt", &fields.received_at);
      return key[2] == 'q' ? pick("request_ip", &fields.request_ip)
                           : pick("properties", &fields.properties);
    case 11:
      return pick("anonymousId", &fields.anonymous_id);
    case 12:
      return pick("integrations", &fields.integrations);
    case 17:
      return pick("originalTimestamp", &fields.original_timestamp);
    default:
      return nullptr;
  }
}

}  // namespace

const char* SkipString(const char* at, const char* end) {
  ++at;
  while (true) {
    at = FindStringStop(at, end);
    if (at == end) return nullptr;
    if (*at == '"') return at + 1;
    if (end - at < 2) return nullptr;
    at += 2;
  }
}

const char* SkipValue(const char* at, const char* end, int* depth) {
  if (at == end) return nullptr;
  if (*at == '"') return SkipString(at, end);
  if (*at == '{' || *at == '[') return SkipNested(at, end, depth);
  const char* const begin = at;
  while (at != end && *at != ',' && *at != '}' && *at != ']' && *at != ' ' && *at != '\n' &&
         *at != '\r' && *at != '\t') {
    ++at;
  }
  return at == begin ? nullptr : at;
}

bool Members::Next(Member* member, int* depth) {
  if (at_ == nullptr) return false;
  const auto fail = [this] {
    at_ = nullptr;
    return false;
  };
  if (at_ == end_ || *at_ != (first_ ? '{' : ',')) {
    if (first_ || at_ == end_ || *at_ != '}') return fail();
    ++at_;
    return false;
  }
  const char* at = SkipSpace(at_ + 1, end_);
  if (at == end_) return fail();
  if (first_ && *at == '}') {
    at_ = at + 1;
    return false;
  }
  first_ = false;
  if (*at != '"') return fail();
  const char* const key_end = SkipString(at, end_);
  if (key_end == nullptr) return fail();
  member->key = std::string_view(at, static_cast<size_t>(key_end - at));
  at = SkipSpace(key_end, end_);
  if (at == end_ || *at != ':') return fail();
  at = SkipSpace(at + 1, end_);
  int nested = 0;
  const char* const value_end = SkipValue(at, end_, &nested);
  if (value_end == nullptr) return fail();
  if (depth != nullptr && nested + 1 > *depth) *depth = nested + 1;
  member->value = std::string_view(at, static_cast<size_t>(value_end - at));
  at_ = SkipSpace(value_end, end_);
  return true;
}

bool Elements::Next(const char** element) {
  if (at_ == nullptr) return false;
  const char* at = first_ ? at_ : SkipSpace(at_, end_);
  if (at == end_ || *at != (first_ ? '[' : ',')) {
    at_ = !first_ && at != end_ && *at == ']' ? at + 1 : nullptr;
    return false;
  }
  at = SkipSpace(at + 1, end_);
  if (first_ && at != end_ && *at == ']') {
    at_ = at + 1;
    return false;
  }
  first_ = false;
  if (at == end_) {
    at_ = nullptr;
    return false;
  }
  *element = at;
  return true;
}

const char* ScanObject(const char* at, const char* end, EventFields* fields, int* depth) {
  Members members(at, end);
  Member member;
  if (depth != nullptr && *depth < 1) *depth = 1;
  std::string decoded;
  while (members.Next(&member, depth)) {
    std::string_view key = member.key.substr(1, member.key.size() - 2);
    if (std::memchr(key.data(), '\\', key.size()) != nullptr) {
      decoded = DecodeText(member.key);
      key = decoded;
    }
    if (std::string_view* field = FieldOf(*fields, key)) *field = member.value;
  }
  return members.at();
}

bool KeyIs(std::string_view raw_key, std::string_view name) {
  if (raw_key.size() < 2) return false;
  const std::string_view inner = raw_key.substr(1, raw_key.size() - 2);
  if (inner.size() <= name.size())
    return inner == name;  // escapes are longer than what they stand for
  return inner.find('\\') != std::string_view::npos && DecodeText(raw_key) == name;
}

}  // namespace millrace::event::scan
