#include "libs/http/request_parser.h"

#include <algorithm>
#include <array>

namespace millrace::http {
namespace {

constexpr size_t kMaxChunkLine = 256;
constexpr size_t kMaxTrailerBytes = 8 << 10;

consteval std::array<bool, 256> CharSet(std::string_view extra) {
  std::array<bool, 256> set{};
  for (int c = '0'; c <= '9'; ++c) set[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) set[static_cast<size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) set[static_cast<size_t>(c)] = true;
  for (const char c : extra) set[static_cast<unsigned char>(c)] = true;
  return set;
}
constexpr auto kTokenChars = CharSet("!#$%&'*+-.^_`|~");
constexpr auto kTargetChars = CharSet("-._~:/?[]@!$&'()*+,;=%");
constexpr auto kHostChars = CharSet("-._~:[]!$&'()*+,;=%");

bool AllOf(std::string_view text, const std::array<bool, 256>& set) {
  for (const char c : text) {
    if (!set[static_cast<unsigned char>(c)]) return false;
  }
  return true;
}

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool EqualsIgnoreCase(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() && std::equal(a.begin(), a.end(), lower.begin(),
                                                [](char x, char y) { return Lower(x) == y; });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool IsFieldValue(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7f) return false;
  }
  return true;
}

bool IsKnownMethod(std::string_view method) {
  constexpr std::array<std::string_view, 7> kMethods = {"POST", "GET",    "OPTIONS", "HEAD",
                                                        "PUT",  "DELETE", "PATCH"};
  return std::find(kMethods.begin(), kMethods.end(), method) != kMethods.end();
}

bool ParseLength(std::string_view text, uint64_t* value) {
  if (text.empty() || text.size() > 18) return false;
  *value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    *value = *value * 10 + static_cast<uint64_t>(c - '0');
  }
  return true;
}

bool HasToken(std::string_view list, std::string_view lower_token) {
  while (true) {
    const size_t comma = list.find(',');
    if (EqualsIgnoreCase(Trim(list.substr(0, comma)), lower_token)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

Refusal Bad(std::string_view reason) {
  return {400, reason};
}

Refusal ParseRequestLine(std::string_view line, size_t max_target_bytes, Head* head) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) return Bad("malformed request line");
  const std::string_view method = line.substr(0, space);
  if (!AllOf(method, kTokenChars)) return Bad("malformed method");
  const size_t last = line.find(' ', space + 1);
  if (last == std::string_view::npos) return Bad("malformed request line");
  std::string_view target = line.substr(space + 1, last - space - 1);
  const std::string_view version = line.substr(last + 1);
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || version[6] != '.') {
    return Bad("malformed request line");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return {505, "only HTTP/1.1 is spoken here"};
  head->http_1_0 = version == "HTTP/1.0";
  if (target.size() > max_target_bytes) return {414, "request target is too long"};
  if (!AllOf(target, kTargetChars)) return Bad("malformed request target");
  for (size_t at = target.find('%'); at != std::string_view::npos; at = target.find('%', at + 1)) {
    const auto hex = [&](size_t i) {
      return i < target.size() && ((target[i] >= '0' && target[i] <= '9') ||
                                   (Lower(target[i]) >= 'a' && Lower(target[i]) <= 'f'));
    };
    if (!hex(at + 1) || !hex(at + 2)) return Bad("malformed request target");
  }
  if (!IsKnownMethod(method)) return {501, "method is not known"};
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.substr(0, scheme.size()) != scheme) continue;
    const size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    break;
  }
  if (target.empty() || (target[0] != '/' && !(target == "*" && method == "OPTIONS"))) {
    return Bad("malformed request target");
  }
  head->request.method = method;
  const size_t question = target.find('?');
  head->request.path = target.substr(0, question);
  if (question != std::string_view::npos) head->request.query = target.substr(question + 1);
  return {};
}

// What of the framing headers has been seen.
struct Seen {
  bool host = false;
  bool length = false;
  bool close = false;
  bool keep_alive = false;
};

Refusal TakeHeader(std::string_view name, std::string_view value, Head* head, Seen* seen) {
  if (name == "host") {
    if (seen->host) return Bad("more than one Host");
    if (!AllOf(value, kHostChars)) return Bad("malformed Host");
    seen->host = true;
  } else if (name == "content-length") {
    if (seen->length) return Bad("more than one Content-Length");
    if (!ParseLength(value, &head->content_length)) return Bad("malformed Content-Length");
    seen->length = true;
  } else if (name == "transfer-encoding") {
    if (head->chunked) return Bad("more than one Transfer-Encoding");
    if (!EqualsIgnoreCase(value, "chunked")) return Bad("Transfer-Encoding must be chunked");
    head->chunked = true;
  } else if (name == "connection") {
    seen->close = seen->close || HasToken(value, "close");
    seen->keep_alive = seen->keep_alive || HasToken(value, "keep-alive");
  } else if (name == "expect") {
    if (!EqualsIgnoreCase(value, "100-continue")) return {417, "expectation is not known"};
    head->expect_continue = true;
  }
  return {};
}

}  // namespace

std::string_view Request::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

HeadFinder::State HeadFinder::Scan(std::string_view text) {
  while (true) {
    const size_t feed = text.find('\n', scanned_);
    if (feed == std::string_view::npos) {
      scanned_ = text.size();
      return State::kMore;
    }
    if (feed == 0 || text[feed - 1] != '\r') return State::kBad;
    const bool empty_line = feed == line_ + 1;
    if (first_line_ == 0) first_line_ = feed + 1;
    scanned_ = line_ = feed + 1;
    if (empty_line) {
      size_ = feed + 1;
      return State::kDone;
    }
  }
}

Refusal ParseHead(std::string_view text, size_t max_target_bytes, Head* head) {
  Seen seen;
  bool first = true;
  while (true) {
    const size_t feed = text.find('\n');
    if (feed == std::string_view::npos || feed == 0 || text[feed - 1] != '\r') {
      return Bad("malformed line end");
    }
    const std::string_view line = text.substr(0, feed - 1);
    text.remove_prefix(feed + 1);
    if (first) {
      if (const Refusal refusal = ParseRequestLine(line, max_target_bytes, head)) return refusal;
      first = false;
      continue;
    }
    if (line.empty()) break;
    const size_t colon = line.find(':');
    // Also refuses continuation lines and white space before the colon: neither is a token.
    if (colon == std::string_view::npos || colon == 0 ||
        !AllOf(line.substr(0, colon), kTokenChars)) {
      return Bad("malformed header");
    }
    const std::string_view value = Trim(line.substr(colon + 1));
    if (!IsFieldValue(value)) return Bad("malformed header value");
    auto& [name, text_value] = head->request.headers.emplace_back(line.substr(0, colon), value);
    std::transform(name.begin(), name.end(), name.begin(), Lower);
    if (const Refusal refusal = TakeHeader(name, value, head, &seen)) return refusal;
  }
  if (head->chunked && seen.length) return Bad("Content-Length beside Transfer-Encoding");
  if (head->chunked && head->http_1_0) return Bad("Transfer-Encoding in HTTP/1.0");
  if (!seen.host && !head->http_1_0) return Bad("no Host");
  head->keep_alive = !seen.close && (!head->http_1_0 || seen.keep_alive);
  if (head->http_1_0) head->expect_continue = false;
  return {};
}

ChunkDecoder::State ChunkDecoder::Decode(std::string_view input, size_t max_bytes,
                                         std::string* body, size_t* used) {
  const size_t whole = input.size();
  const auto leave = [&](State state) {
    *used = whole - input.size();
    return state;
  };
  while (true) {
    if (part_ == Part::kData) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(left_, input.size()));
      if (body->size() + take > max_bytes) return leave(State::kTooLarge);
      body->append(input.substr(0, take));
      input.remove_prefix(take);
      left_ -= take;
      if (left_ > 0) return leave(State::kMore);
      part_ = Part::kDataEnd;
    }
    const size_t feed = input.find('\n');
    if (feed == std::string_view::npos) {
      if (input.size() > kMaxChunkLine && part_ != Part::kTrailer) return leave(State::kBad);
      return leave(input.size() > kMaxTrailerBytes ? State::kBad : State::kMore);
    }
    if (feed == 0 || input[feed - 1] != '\r') return leave(State::kBad);
    const std::string_view line = input.substr(0, feed - 1);
    input.remove_prefix(feed + 1);
    if (!IsFieldValue(line)) return leave(State::kBad);
    if (part_ == Part::kDataEnd) {
      if (!line.empty()) return leave(State::kBad);
      part_ = Part::kSize;
      continue;
    }
    if (part_ == Part::kTrailer) {
      if (line.empty()) {
        part_ = Part::kSize;
        return leave(State::kDone);
      }
      trailer_bytes_ += line.size() + 2;
      const size_t colon = line.find(':');
      if (colon == std::string_view::npos || colon == 0 || trailer_bytes_ > kMaxTrailerBytes ||
          !AllOf(line.substr(0, colon), kTokenChars)) {
        return leave(State::kBad);
      }
      continue;
    }
    size_t digits = 0;
    left_ = 0;
    for (; digits < line.size(); ++digits) {
      const char c = Lower(line[digits]);
      const bool digit = c >= '0' && c <= '9';
      if (!digit && (c < 'a' || c > 'f')) break;
      if (digits >= 15) return leave(State::kBad);
      left_ = left_ * 16 + static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
    }
    if (digits == 0 || line.size() > kMaxChunkLine) return leave(State::kBad);
    if (digits < line.size() && line[digits] != ';') return leave(State::kBad);
    if (left_ > max_bytes || body->size() + left_ > max_bytes) return leave(State::kTooLarge);
    part_ = left_ == 0 ? Part::kTrailer : Part::kData;
    if (left_ == 0) trailer_bytes_ = 0;
  }
}

}  // namespace millrace::http
