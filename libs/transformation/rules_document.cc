#include "libs/transformation/rules_document.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "libs/event/scan.h"

namespace millrace::transformation::rules {
namespace {

using event::scan::SkipSpace;

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

Status Document::Load(std::string_view json) {
  if (json.size() >= kNone)
    return MakeStatus(StatusCode::kInvalidArgument, "the event is too large");
  text_ = json;
  const char* const at = SkipSpace(text_.data(), end());
  if (at == end() || *at != '{') {
    return MakeStatus(StatusCode::kInvalidArgument, "the event is not a JSON object");
  }
  if (!Scan()) return MakeStatus(StatusCode::kInvalidArgument, "the event is not valid JSON");
  if (!duplicates_.empty()) MR_RETURN_IF_ERROR(LoadWithoutDuplicates());
  return OkStatus();
}

Status Document::LoadWithoutDuplicates() {
  made_ = WithoutDuplicates();
  text_ = made_;
  if (Scan()) return OkStatus();
  return MakeStatus(StatusCode::kInvalidArgument, "the event is not valid JSON");
}

bool Document::Replace(std::string json) {
  made_ = std::move(json);
  text_ = made_;
  int depth = 0;
  const char* const at = SkipSpace(text_.data(), end());
  return event::scan::SkipValue(at, end(), &depth) != nullptr && depth <= kMaxNesting && Scan();
}

bool Document::Scan() {
  matches_.clear();
  duplicates_.clear();
  std::ranges::fill(states_, State{});
  index_.Build(text_);
  const char* at = SkipSpace(text_.data(), end());
  open_ = OffsetOf(at);
  at = Walk(at, 0);
  return at != nullptr && SkipSpace(at, end()) == end();
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
    while (kept < text().size() && text()[kept] != ',')
      ++kept;  // there is one: another member follows
    kept = std::min(kept + 1, text().size());
  }
  cleaned += text().substr(kept);
  return cleaned;
}

int Document::FindChild(const PathTree::Node& node, std::string_view quoted_key) const {
  if (node.children.empty()) return -1;
  const std::string_view key = quoted_key.substr(1, quoted_key.size() - 2);
  for (const int child : node.children) {
    const std::string& name = tree_.node(child).name;
    // Most differ in these already.
    if (name.size() != key.size() || (!key.empty() && name[0] != key[0])) continue;
    if (name == key) return child;
  }
  if (!index_.has_backslashes()) return -1;
  for (const int child : node.children) {
    if (event::scan::KeyIs(quoted_key, tree_.node(child).name)) return child;
  }
  return -1;
}

int Document::FindElement(const PathTree::Node& node, int64_t index) const {
  for (const int child : node.children) {
    if (tree_.node(child).index == index) return child;
  }
  return -1;
}

// `at` stands on the value; answers what is behind it, null when it is no JSON.
const char* Document::Visit(const char* at, uint32_t begin, uint32_t container, int child,
                            bool single) {
  const PathTree::Node& node = tree_.node(child);
  const bool deeper = (*at == '{' || *at == '[') && (!node.children.empty() || node.any >= 0);
  const size_t index = matches_.size();
  const State& state = states_[static_cast<size_t>(child)];
  if (single && state.container == container) duplicates_.push_back(matches_[state.last]);
  matches_.push_back({begin, OffsetOf(at), 0, container, state.last});
  const char* const after = deeper ? Walk(at, child) : index_.SkipValue(at);
  if (after == nullptr) return nullptr;
  matches_[index].value_end = OffsetOf(after);
  states_[static_cast<size_t>(child)] = {static_cast<uint32_t>(index), container};
  return after;
}

// `at` stands on a member's key or on an element; answers what is behind the value.
const char* Document::WalkItem(const char* at, const PathTree::Node& node, bool object,
                               int64_t index, uint32_t container) {
  const uint32_t begin = OffsetOf(at);
  int child = -1;
  if (object) {
    if (*at != '"') return nullptr;
    const char* const key_end = index_.SkipString(at);
    if (key_end == nullptr) return nullptr;
    child = FindChild(node, {at, static_cast<size_t>(key_end - at)});
    at = SkipSpace(key_end, end());
    if (at == end() || *at != ':') return nullptr;
    at = SkipSpace(at + 1, end());
    if (at == end()) return nullptr;
  } else {
    child = FindElement(node, index);
  }
  if (child < 0 && node.any < 0) return index_.SkipValue(at);
  const char* after = at;
  if (child >= 0) after = Visit(at, begin, container, child, object);
  if (node.any >= 0 && after != nullptr) after = Visit(at, begin, container, node.any, false);
  return after;
}

// `at` stands on a bracket or brace; answers what is behind the matching one, null when it is no
// JSON.
const char* Document::Walk(const char* at, int id) {
  const PathTree::Node& node = tree_.node(id);
  const uint32_t container = OffsetOf(at);
  const bool object = *at == '{';
  const char close = object ? '}' : ']';
  at = SkipSpace(at + 1, end());
  if (at != end() && *at == close) return at + 1;
  for (int64_t index = 0; at != end(); ++index) {
    at = WalkItem(at, node, object, index, container);
    if (at == nullptr) return nullptr;
    at = SkipSpace(at, end());
    if (at == end()) return nullptr;
    if (*at == close) return at + 1;
    if (*at != ',') return nullptr;
    at = SkipSpace(at + 1, end());
  }
  return nullptr;
}

uint32_t Document::ObjectAt(int node) const {
  if (node == 0) return open_;
  const Match* const match = First(node);
  return match != nullptr && text_[match->value_begin] == '{' ? match->value_begin : kNone;
}

}  // namespace millrace::transformation::rules
