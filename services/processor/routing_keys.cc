#include "services/processor/routing_keys.h"

#include <nlohmann/json.hpp>
#include <string.h>

#include <algorithm>

#include "libs/event/scan.h"

namespace millrace::processor {
namespace {

using Json = nlohmann::json;
namespace scan = event::scan;

constexpr int kMaxDepth = 64;

bool Holds(std::string_view text, std::string_view part) {
  return memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

/// The raw values of `keys`; of a key that stands twice the last as in JavaScript, of one that is
/// not there "".
std::vector<std::string_view> Find(std::string_view json, const std::vector<std::string>& keys) {
  std::vector<std::string_view> values(keys.size());
  const char* const end = json.data() + json.size();
  const char* const open = scan::SkipSpace(json.data(), end);
  if (open == end || *open != '{') return values;
  scan::Members members(open, end);
  scan::Member member;
  while (members.Next(&member)) {
    for (size_t i = 0; i < keys.size(); ++i) {
      if (scan::KeyIs(member.key, keys[i])) values[i] = member.value;
    }
  }
  return values;
}

/// Whether two values are certainly not the same to JavaScript.
bool Differ(const Json& a, const Json& b, int depth) {
  if (depth > kMaxDepth) return false;
  if (a.is_number() && b.is_number()) return a.get<double>() != b.get<double>();
  if (a.type() != b.type()) return true;
  if (!a.is_structured()) return a != b;
  if (a.size() != b.size()) return true;
  if (a.is_array()) {
    return !std::equal(a.begin(), a.end(), b.begin(), [depth](const Json& one, const Json& other) {
      return !Differ(one, other, depth + 1);
    });
  }
  return std::any_of(a.items().begin(), a.items().end(), [&](const auto& member) {
    const auto found = b.find(member.key());
    return found == b.end() || Differ(member.value(), *found, depth + 1);
  });
}

bool Changed(std::string_view accepted, std::string_view now) {
  if (now.empty() || now == accepted) return false;
  if (accepted.empty()) return true;
  const Json before = Json::parse(accepted, nullptr, false);
  const Json after = Json::parse(now, nullptr, false);
  return !before.is_discarded() && !after.is_discarded() && Differ(before, after, 0);
}

}  // namespace

std::vector<std::string> ChangedKeys(std::string_view accepted, std::string_view event,
                                     const std::vector<std::string>& keys) {
  std::vector<std::string> changed;
  // Nearly no event holds one; a key may be spelt with escapes.
  const auto held = [event](const std::string& key) { return Holds(event, key); };
  if (!Holds(event, "\\u") && std::none_of(keys.begin(), keys.end(), held)) return changed;
  const auto before = Find(accepted, keys);
  const auto now = Find(event, keys);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (Changed(before[i], now[i])) changed.push_back(keys[i]);
  }
  return changed;
}

}  // namespace millrace::processor
