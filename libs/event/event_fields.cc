#include "libs/event/event_fields.h"

#include <array>
#include <cstdint>

#include "libs/event/scan.h"
#include "libs/json/writer.h"

namespace millrace::event {
namespace {

constexpr std::array<std::string_view, 9> kTypeNames = {
    "", "identify", "track", "page", "screen", "group", "alias", "merge", "record"};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The four digits at `at`, or -1.
int32_t HexQuad(std::string_view text, size_t at) {
  if (at + 4 > text.size()) return -1;
  int32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    const int digit = HexDigit(text[at + i]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// Resolves the \u escape whose `u` is at `at`; answers the position after it. A lone surrogate
// becomes U+FFFD.
size_t DecodeUnicodeEscape(std::string_view text, size_t at, std::string& out) {
  constexpr uint32_t kReplacement = 0xfffd;
  const int32_t first = HexQuad(text, at + 1);
  if (first < 0) return at + 1;
  at += 5;
  auto code = static_cast<uint32_t>(first);
  if (code >= 0xd800 && code < 0xdc00) {
    const int32_t second = text.substr(at, 2) == "\\u" ? HexQuad(text, at + 2) : -1;
    if (second >= 0xdc00 && second < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (static_cast<uint32_t>(second) - 0xdc00);
      at += 6;
    } else {
      code = kReplacement;
    }
  } else if (code >= 0xdc00 && code < 0xe000) {
    code = kReplacement;
  }
  AppendUtf8(code, out);
  return at;
}

char SimpleEscape(char c) {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return c;
  }
}

}  // namespace

Status ScanFields(std::string_view json, EventFields* fields) {
  *fields = EventFields{};
  const char* const end = json.data() + json.size();
  const char* at = scan::SkipSpace(json.data(), end);
  if (at != end && *at == '{')
    at = scan::ScanObject(at, end, fields);
  else
    at = nullptr;
  if (at == nullptr || scan::SkipSpace(at, end) != end) {
    return MakeStatus(StatusCode::kInvalidArgument, "event is not a JSON object");
  }
  return OkStatus();
}

std::string DecodeText(std::string_view raw) {
  if (raw.empty()) return {};
  if (raw.front() != '"') {
    const bool number = raw.front() == '-' || (raw.front() >= '0' && raw.front() <= '9');
    return number ? std::string(raw) : std::string();
  }
  if (raw.size() < 2) return {};
  const std::string_view text = raw.substr(1, raw.size() - 2);
  size_t escape = text.find('\\');
  if (escape == std::string_view::npos) return std::string(text);
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  while (escape != std::string_view::npos) {
    out += text.substr(at, escape - at);
    at = escape + 1;
    if (at >= text.size()) return out;
    if (text[at] == 'u') {
      at = DecodeUnicodeEscape(text, at, out);
    } else {
      out += SimpleEscape(text[at]);
      ++at;
    }
    escape = text.find('\\', at);
  }
  out += text.substr(at);
  return out;
}

std::string QuoteJson(std::string_view text) {
  return json::Quote(text);
}

std::string SetFields(std::string_view json,
                      const std::vector<std::pair<std::string_view, std::string>>& values) {
  const char* const end = json.data() + json.size();
  const char* const open = scan::SkipSpace(json.data(), end);
  if (open == end || *open != '{') return std::string(json);

  struct Piece {
    scan::Member member;
    size_t value = SIZE_MAX;  // index into `values`, when it is replaced
    bool dropped = false;
  };
  std::vector<Piece> pieces;
  scan::Members members(open, end);
  scan::Member member;
  size_t size = json.size() + 2;
  std::vector<size_t> last(values.size(), SIZE_MAX);  // where each key stands
  while (members.Next(&member)) {
    Piece piece{.member = member};
    for (size_t i = 0; i < values.size(); ++i) {
      if (!scan::KeyIs(member.key, values[i].first)) continue;
      // Of a key that stands twice only one may stay, else the readers would differ.
      if (last[i] != SIZE_MAX) pieces[last[i]].dropped = true;
      last[i] = pieces.size();
      piece.value = i;
      piece.dropped = values[i].second.empty();
    }
    pieces.push_back(piece);
  }
  if (members.at() == nullptr) return std::string(json);
  for (const auto& [key, value] : values) size += key.size() + value.size() + 4;

  std::string out;
  out.reserve(size);
  out += '{';
  bool first = true;
  const auto separate = [&out, &first] {
    if (!first) out += ',';
    first = false;
  };
  for (size_t i = 0; i < values.size(); ++i) {
    if (last[i] != SIZE_MAX || values[i].second.empty()) continue;
    separate();
    out += QuoteJson(values[i].first);
    out += ':';
    out += values[i].second;
  }
  for (const Piece& piece : pieces) {
    if (piece.dropped) continue;
    separate();
    out += piece.member.key;
    out += ':';
    out +=
        piece.value == SIZE_MAX ? piece.member.value : std::string_view(values[piece.value].second);
  }
  out += '}';
  return out;
}

v1::EventType ParseEventType(std::string_view name) {
  for (size_t i = 1; i < kTypeNames.size(); ++i) {
    if (kTypeNames[i] == name) return static_cast<v1::EventType>(i);
  }
  return v1::EVENT_TYPE_UNSPECIFIED;
}

std::string_view EventTypeName(v1::EventType type) {
  const auto index = static_cast<size_t>(type);
  return index < kTypeNames.size() ? kTypeNames[index] : std::string_view();
}

std::string UserKey(std::string_view workspace_id, std::string_view user_id,
                    std::string_view anonymous_id) {
  const std::string_view id = user_id.empty() ? anonymous_id : user_id;
  std::string key;
  key.reserve(workspace_id.size() + id.size() + 3);
  key += workspace_id;
  key += user_id.empty() ? ":a:" : ":u:";
  key += id;
  return key;
}

}  // namespace millrace::event
