#include "libs/transformation/rules_document.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>

#include "libs/event/scan.h"

namespace millrace::transformation::rules {
namespace {

bool Opens(char c) {
  return (c | 0x20) == '{';
}  // or [
bool Closes(char c) {
  return (c | 0x20) == '}';
}  // or ]
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
constexpr size_t kMaxNesting = 1024;
bool IsSpace(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

}  // namespace

int PathTree::Add(const Path& path) {
  int at = 0;
  for (const Path::Part& part : path.parts) {
    Node& node = nodes_[static_cast<size_t>(at)];
    int next = part.any ? node.any : -1;
    if (!part.any) {
      const auto same = [&](int child) {
        return nodes_[static_cast<size_t>(child)].name == part.name;
      };
      const auto found = std::ranges::find_if(node.children, same);
      if (found != node.children.end()) next = *found;
    }
    if (next < 0) {
      next = static_cast<int>(nodes_.size());
      if (part.any) {
        node.any = next;
      } else {
        node.children.push_back(next);
      }
      Node child{.name = part.name};
      const char* const end = part.name.data() + part.name.size();
      int64_t index = 0;
      const auto [stop, code] = std::from_chars(part.name.data(), end, index);
      if (!part.any && code == std::errc() && stop == end) child.index = index;
      nodes_.push_back(std::move(child));
    }
    at = next;
  }
  return at;
}

Document::Document(const PathTree& tree) : tree_(tree), states_(tree.size()) {}

// Copies the text and finds its tokens. False when it is no UTF-8, a string does not end or holds a
// control character.
bool Document::Index(std::string_view json) {
  size_ = json.size();
  const size_t needed = size_ + simdjson::SIMDJSON_PADDING;
  if (buffer_.size() < needed || indexer_ == nullptr) {
    buffer_.resize(std::max(2 * needed, size_t{4096}));
    constexpr size_t kDepth = 1;  // of its own second stage, which is not used
    MR_CHECK(simdjson::get_active_implementation()->create_dom_parser_implementation(
                 buffer_.size(), kDepth, indexer_) == simdjson::SUCCESS);
  }
  std::memcpy(buffer_.data(), json.data(), size_);
  std::memset(buffer_.data() + size_, ' ', simdjson::SIMDJSON_PADDING);
  escapes_ = std::memchr(buffer_.data(), '\\', size_) != nullptr;
  const auto* const bytes = reinterpret_cast<const uint8_t*>(buffer_.data());
  return indexer_->stage1(bytes, size_, simdjson::stage1_mode::regular) == simdjson::SUCCESS;
}

Status Document::Load(std::string_view json) {
  if (!Index(json)) return MakeStatus(StatusCode::kInvalidArgument, "the event is not valid JSON");
  if (CharAt(0) != '{') {
    return MakeStatus(StatusCode::kInvalidArgument, "the event is not a JSON object");
  }
  if (!Scan()) return MakeStatus(StatusCode::kInvalidArgument, "the event is not valid JSON");
  if (!duplicates_.empty()) MR_CHECK(Replace(WithoutDuplicates()));
  return OkStatus();
}

bool Document::Replace(std::string_view json) {
  return Index(json) && Scan();
}

bool Document::Scan() {
  matches_.clear();
  duplicates_.clear();
  std::ranges::fill(states_, State{});
  open_ = tokens()[0];
  return Walk(0, 0) == indexer_->n_structural_indexes;
}

// Of a key that stands twice the last one counts, as in JavaScript; the others go.
std::string Document::WithoutDuplicates() {
  std::ranges::sort(duplicates_, {}, &Match::begin);
  std::string cleaned;
  size_t kept = 0;
  for (const Match& match : duplicates_) {
    if (match.begin < kept) continue;  // inside one that went
    cleaned += text().substr(kept, match.begin - kept);
    kept = match.value_end;
    while (buffer_[kept] != ',') ++kept;  // there is one: another member follows
    ++kept;
  }
  cleaned += text().substr(kept);
  return cleaned;
}

// That a text ends, the index has seen.
bool Document::HasGoodEscapes(uint32_t token) const {
  const uint32_t begin = tokens()[token] + 1;
  uint32_t end = ValueEnd(token + 1) - 1;
  std::string_view inner(buffer_.data() + begin, end - begin);
  for (size_t at = inner.find('\\'); at != inner.npos; at = inner.find('\\', at)) {
    const char escape = at + 1 < inner.size() ? inner[at + 1] : ' ';
    if (escape == 'u') {
      const std::string_view digits = inner.substr(at + 2, 4);
      const bool hex = std::ranges::all_of(
          digits, [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; });
      if (digits.size() != 4 || !hex) return false;
    } else if (std::string_view("\"\\/bfnrt").find(escape) == std::string_view::npos) {
      return false;
    }
    at += 2;
  }
  return true;
}

bool Document::IsScalar(uint32_t token) const {
  const char* at = buffer_.data() + tokens()[token];
  const auto word = [&at](std::string_view text) {
    const bool same = std::memcmp(at, text.data(), text.size()) == 0;
    at += text.size();
    return same;
  };
  const auto digits = [&at] {
    const char* const from = at;
    while (IsDigit(*at)) ++at;
    return at != from;
  };
  if (*at == '-' || IsDigit(*at)) {
    if (*at == '-') ++at;
    if (*at == '0') {
      ++at;
    } else if (!digits()) {
      return false;
    }
    if (*at == '.') {
      ++at;
      if (!digits()) return false;
    }
    if (*at == 'e' || *at == 'E') {
      ++at;
      if (*at == '-' || *at == '+') ++at;
      if (!digits()) return false;
    }
  } else if (!(*at == 't' ? word("true") : *at == 'f' ? word("false") : word("null"))) {
    return false;
  }
  return IsSpace(*at) || *at == ',' || Closes(*at);
}

// The token after the value, kNone when it is no JSON.
uint32_t Document::SkipValue(uint32_t token) const {
  std::array<bool, kMaxNesting> objects;  // of those around: whether it is one, or an array
  size_t depth = 0;
  const uint32_t* const at = tokens();
  const char* const bytes = buffer_.data();
  const auto key = [&] {
    if (!IsString(token) || bytes[at[token + 1]] != ':') return false;
    token += 2;
    return true;
  };
  while (true) {  // a value
    const char c = bytes[at[token]];
    if (Opens(c)) {
      if (depth == kMaxNesting) return kNone;
      objects[depth++] = c == '{';
      ++token;
      if (!Closes(bytes[at[token]])) {
        if (c == '{' && !key()) return kNone;
        continue;
      }
    } else {
      if (c == '"' ? !IsString(token) : !IsScalar(token)) return kNone;
      ++token;
    }
    while (true) {  // what may follow one
      if (depth == 0) return token;
      const bool object = objects[depth - 1];
      const char after = bytes[at[token++]];
      if (after == ',') {
        if (object && !key()) return kNone;
        break;
      }
      if (after != (object ? '}' : ']')) return kNone;
      --depth;
    }
  }
}

uint32_t Document::ValueEnd(uint32_t token_after) const {
  uint32_t end = tokens()[token_after];
  while (IsSpace(buffer_[end - 1])) --end;
  return end;
}

int Document::FindChild(const PathTree::Node& node, std::string_view raw_key) const {
  if (escapes_ && raw_key.find('\\') != std::string_view::npos) {
    const std::string quoted = '"' + std::string(raw_key) + '"';
    for (const int child : node.children) {
      if (event::scan::KeyIs(quoted, tree_.node(child).name)) return child;
    }
    return -1;
  }
  for (const int child : node.children) {
    if (tree_.node(child).name == raw_key) return child;
  }
  return -1;
}

// `token` is the value's; answers the one after it, kNone when it is no JSON.
uint32_t Document::Visit(uint32_t token, uint32_t begin, uint32_t container, int child,
                         bool single) {
  State& state = states_[static_cast<size_t>(child)];
  if (single && state.container == container) duplicates_.push_back(matches_[state.last]);
  const size_t index = matches_.size();
  matches_.push_back({begin, tokens()[token], 0, container, state.last});
  const PathTree::Node& node = tree_.node(child);
  const bool deeper = !node.children.empty() || node.any >= 0;
  const uint32_t after = deeper && Opens(CharAt(token)) ? Walk(token, child) : SkipValue(token);
  if (after == kNone) return kNone;
  matches_[index].value_end = ValueEnd(after);
  state.last = static_cast<uint32_t>(index);
  state.container = container;
  return after;
}

// `token` is that of a bracket or brace at `id`; answers the one after the matching one, kNone when
// it is no JSON.
uint32_t Document::Walk(uint32_t token, int id) {
  const PathTree::Node& node = tree_.node(id);
  const uint32_t container = tokens()[token];
  const bool object = CharAt(token) == '{';
  const char close = object ? '}' : ']';
  ++token;
  if (CharAt(token) == close) return token + 1;
  for (int64_t index = 0;; ++index) {
    const uint32_t begin = tokens()[token];
    int child = -1;
    if (object) {
      if (!IsString(token) || CharAt(token + 1) != ':') return kNone;
      const uint32_t key_end = ValueEnd(token + 1) - 1;
      child = FindChild(node, {buffer_.data() + begin + 1, key_end - begin - 1});
      token += 2;
    } else {
      for (const int candidate : node.children) {
        if (tree_.node(candidate).index == index) child = candidate;
      }
    }
    uint32_t after = 0;
    if (child >= 0) after = Visit(token, begin, container, child, object);
    if (node.any >= 0 && after != kNone) after = Visit(token, begin, container, node.any, false);
    token = after != 0 ? after : SkipValue(token);
    if (token == kNone) return kNone;
    if (CharAt(token) == close) return token + 1;
    if (CharAt(token) != ',') return kNone;
    ++token;
  }
}

uint32_t Document::ObjectAt(int node) const {
  if (node == 0) return open_;
  const Match* const match = First(node);
  return match != nullptr && buffer_[match->value_begin] == '{' ? match->value_begin : kNone;
}

}  // namespace millrace::transformation::rules
