#include "libs/event/event_fields.h"

#include <fmt/format.h>

#include <cstring>

namespace millrace::event {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// Walks JSON that is known to be valid; every step stays within the text whatever it holds.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  const char* at() const { return at_; }
  bool done() const { return at_ >= end_; }
  char peek() const { return at_ < end_ ? *at_ : '\0'; }
  void SkipSpace() {
    while (at_ < end_ && IsSpace(*at_)) ++at_;
  }
  bool Take(char c) {
    SkipSpace();
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  /// A whole string with its quotes; empty when there is none.
  std::string_view TakeString() {
    SkipSpace();
    const char* start = at_;
    if (peek() != '"') return {};
    SkipString();
    return {start, static_cast<size_t>(at_ - start)};
  }
  /// Any value's raw text.
  std::string_view TakeValue() {
    SkipSpace();
    const char* start = at_;
    if (peek() == '"') {
      SkipString();
    } else if (peek() == '{' || peek() == '[') {
      SkipNested();
    } else {
      while (at_ < end_ && *at_ != ',' && *at_ != '}' && *at_ != ']' && !IsSpace(*at_)) ++at_;
    }
    return {start, static_cast<size_t>(at_ - start)};
  }

 private:
  void SkipString() {
    ++at_;
    while (at_ < end_) {
      const auto* quote =
          static_cast<const char*>(std::memchr(at_, '"', static_cast<size_t>(end_ - at_)));
      if (quote == nullptr) {
        at_ = end_;
        return;
      }
      size_t slashes = 0;
      for (const char* back = quote; back > at_ && back[-1] == '\\'; --back) ++slashes;
      at_ = quote + 1;
      if (slashes % 2 == 0) return;
    }
  }

  void SkipNested() {
    int depth = 0;
    while (at_ < end_) {
      const char c = *at_;
      if (c == '"') {
        SkipString();
        continue;
      }
      ++at_;
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') {
        if (--depth == 0) return;
      }
    }
  }

  const char* at_;
  const char* end_;
};

/// Where the value of a top-level key belongs; null for a key that is of no interest.
std::string_view* Slot(std::string_view key, EventFields* fields) {
  switch (key.size()) {
    case 4:
      if (key == "type") return &fields->type;
      if (key == "name") return &fields->name;
      break;
    case 5:
      if (key == "event") return &fields->event;
      break;
    case 6:
      if (key == "userId") return &fields->user_id;
      if (key == "sentAt") return &fields->sent_at;
      if (key == "traits") return &fields->traits;
      break;
    case 7:
      if (key == "context") return &fields->context;
      if (key == "channel") return &fields->channel;
      if (key == "groupId") return &fields->group_id;
      break;
    case 8:
      if (key == "writeKey") return &fields->write_key;
      break;
    case 9:
      if (key == "messageId") return &fields->message_id;
      if (key == "timestamp") return &fields->timestamp;
      break;
    case 10:
      if (key == "properties") return &fields->properties;
      if (key == "receivedAt") return &fields->received_at;
      if (key == "previousId") return &fields->previous_id;
      if (key == "request_ip") return &fields->request_ip;
      break;
    case 11:
      if (key == "anonymousId") return &fields->anonymous_id;
      break;
    case 12:
      if (key == "integrations") return &fields->integrations;
      break;
    case 17:
      if (key == "originalTimestamp") return &fields->original_timestamp;
      break;
    default:
      break;
  }
  return nullptr;
}

/// A key with its quotes, as text; keys with escapes are rare and are decoded.
std::string_view KeyText(std::string_view quoted, std::string* scratch) {
  const std::string_view inner = quoted.substr(1, quoted.size() - 2);
  if (inner.find('\\') == std::string_view::npos) return inner;
  *scratch = DecodeText(quoted);
  return *scratch;
}

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    *out += static_cast<char>(code);
  } else if (code < 0x800) {
    *out += static_cast<char>(0xc0 | (code >> 6));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *out += static_cast<char>(0xe0 | (code >> 12));
    *out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    *out += static_cast<char>(0xf0 | (code >> 18));
    *out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    *out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    *out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Reads the four hex digits of \uXXXX at `at`; -1 when they are not there.
int32_t ReadHex4(std::string_view text, size_t at) {
  if (at + 4 > text.size()) return -1;
  int32_t code = 0;
  for (size_t i = 0; i < 4; ++i) {
    const int digit = HexValue(text[at + i]);
    if (digit < 0) return -1;
    code = code * 16 + digit;
  }
  return code;
}

/// Decodes a \u escape whose 'u' is at `*at`, with its low surrogate when there is one; moves on.
uint32_t TakeUnicodeEscape(std::string_view text, size_t* at) {
  constexpr uint32_t kReplacement = 0xfffd;
  const int32_t high = ReadHex4(text, *at + 1);
  *at += 5;
  if (high < 0) return kReplacement;
  if (high < 0xd800 || high > 0xdfff) return static_cast<uint32_t>(high);
  if (high > 0xdbff || text.substr(*at, 2) != "\\u") return kReplacement;
  const int32_t low = ReadHex4(text, *at + 2);
  if (low < 0xdc00 || low > 0xdfff) return kReplacement;
  *at += 6;
  return 0x10000 + ((static_cast<uint32_t>(high) - 0xd800) << 10) +
         (static_cast<uint32_t>(low) - 0xdc00);
}

}  // namespace

Status ScanFields(std::string_view json, EventFields* fields) {
  *fields = EventFields();
  Cursor cursor(json);
  if (!cursor.Take('{')) {
    return Error(StatusCode::kInvalidArgument, "the event is not a JSON object");
  }
  std::string scratch;
  if (cursor.Take('}')) return OkStatus();
  do {
    const std::string_view key = cursor.TakeString();
    if (key.size() < 2 || !cursor.Take(':')) break;
    const std::string_view value = cursor.TakeValue();
    if (std::string_view* slot = Slot(KeyText(key, &scratch), fields); slot != nullptr) {
      *slot = value;
    }
  } while (cursor.Take(','));
  if (!cursor.Take('}')) {
    return Error(StatusCode::kInvalidArgument, "the event is not a JSON object");
  }
  return OkStatus();
}

std::string DecodeText(std::string_view raw) {
  if (raw.empty()) return {};
  if (raw.front() == '-' || (raw.front() >= '0' && raw.front() <= '9')) return std::string(raw);
  if (raw.size() < 2 || raw.front() != '"') return {};
  raw = raw.substr(1, raw.size() - 2);
  std::string text;
  text.reserve(raw.size());
  for (size_t at = 0; at < raw.size();) {
    const char c = raw[at++];
    if (c != '\\' || at >= raw.size()) {
      text += c;
      continue;
    }
    switch (raw[at]) {
      case 'b': text += '\b'; break;
      case 'f': text += '\f'; break;
      case 'n': text += '\n'; break;
      case 'r': text += '\r'; break;
      case 't': text += '\t'; break;
      case 'u': AppendUtf8(TakeUnicodeEscape(raw, &at), &text); continue;
      default: text += raw[at];
    }
    ++at;
  }
  return text;
}

std::string QuoteJson(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
  return out;
}

std::string SetFields(std::string_view json,
                      const std::vector<std::pair<std::string_view, std::string>>& values) {
  std::string scratch;
  std::string kept;  // the members that stay, comma between
  kept.reserve(json.size());
  Cursor cursor(json);
  if (!cursor.Take('{')) return std::string(json);
  if (!cursor.Take('}')) {
    const char* run = nullptr;  // start of members copied as they are
    const char* run_end = nullptr;
    const auto flush = [&] {
      if (run == nullptr) return;
      if (!kept.empty()) kept += ',';
      kept.append(run, static_cast<size_t>(run_end - run));
      run = nullptr;
    };
    do {
      cursor.SkipSpace();
      const char* start = cursor.at();
      const std::string_view key = cursor.TakeString();
      if (key.size() < 2 || !cursor.Take(':')) break;
      cursor.TakeValue();
      const std::string_view name = KeyText(key, &scratch);
      bool replaced = false;
      for (const auto& value : values) replaced = replaced || value.first == name;
      if (replaced) {
        flush();
      } else {
        if (run == nullptr) run = start;
        run_end = cursor.at();
      }
    } while (cursor.Take(','));
    flush();
  }
  std::string out = "{";
  for (const auto& [name, value] : values) {
    if (value.empty()) continue;
    if (out.size() > 1) out += ',';
    out += '"';
    out += name;
    out += "\":";
    out += value;
  }
  if (!kept.empty()) {
    if (out.size() > 1) out += ',';
    out += kept;
  }
  out += '}';
  return out;
}

v1::EventType ParseEventType(std::string_view name) {
  if (name == "track") return v1::TRACK;
  if (name == "identify") return v1::IDENTIFY;
  if (name == "page") return v1::PAGE;
  if (name == "screen") return v1::SCREEN;
  if (name == "group") return v1::GROUP;
  if (name == "alias") return v1::ALIAS;
  if (name == "merge") return v1::MERGE;
  if (name == "record") return v1::RECORD;
  return v1::EVENT_TYPE_UNSPECIFIED;
}

std::string_view EventTypeName(v1::EventType type) {
  switch (type) {
    case v1::TRACK: return "track";
    case v1::IDENTIFY: return "identify";
    case v1::PAGE: return "page";
    case v1::SCREEN: return "screen";
    case v1::GROUP: return "group";
    case v1::ALIAS: return "alias";
    case v1::MERGE: return "merge";
    case v1::RECORD: return "record";
    default: return "";
  }
}

std::string UserKey(std::string_view workspace_id, std::string_view user_id,
                    std::string_view anonymous_id) {
  const std::string_view user = user_id.empty() ? anonymous_id : user_id;
  std::string key;
  key.reserve(workspace_id.size() + 1 + user.size());
  key += workspace_id;
  key += '/';
  key += user;
  return key;
}

}  // namespace millrace::event
