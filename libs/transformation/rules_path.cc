#include "libs/transformation/rules_path.h"

#include <algorithm>

namespace millrace::transformation::rules {
namespace {

constexpr size_t kMaxParts = 32;

Status Fault(std::string_view text, std::string_view what) {
  return Error(StatusCode::kInvalidArgument,
               "\"{}\" is no path: {}; write e.g. context.traits.email", text, what);
}

}  // namespace

bool Path::HasWildcard() const {
  return std::ranges::any_of(parts, [](const Part& part) { return part.any; });
}

StatusOr<Path> ParsePath(std::string_view text) {
  Path path;
  size_t at = 0;
  while (true) {
    Path::Part part;
    if (at < text.size() && text[at] == '"') {
      const size_t close = text.find('"', at + 1);
      if (close == std::string_view::npos) return Fault(text, "a quote is not closed");
      part.name = text.substr(at + 1, close - at - 1);
      at = close + 1;
      if (at < text.size() && text[at] != '.') return Fault(text, "after a quote comes a dot");
    } else {
      const size_t dot = std::min(text.find('.', at), text.size());
      const std::string_view name = text.substr(at, dot - at);
      const bool odd = std::ranges::any_of(name, [](char c) {
        return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '[' || c == ']';
      });
      if (name.empty()) return Fault(text, "a part is empty");
      if (odd) return Fault(text, "a name with spaces, dots, quotes or brackets stands in \"\"");
      part.any = name == "*";
      part.name = name;
      at = dot;
    }
    path.parts.push_back(std::move(part));
    if (at == text.size()) break;
    ++at;  // the dot
  }
  if (path.parts.size() > kMaxParts) return Fault(text, "it has more than 32 parts");
  return path;
}

bool Overlap(const Path& a, const Path& b) {
  const size_t shared = std::min(a.parts.size(), b.parts.size());
  for (size_t i = 0; i < shared; ++i) {
    if (!a.parts[i].any && !b.parts[i].any && a.parts[i].name != b.parts[i].name) return false;
  }
  return true;
}

}  // namespace millrace::transformation::rules
