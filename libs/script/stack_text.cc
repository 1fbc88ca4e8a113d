#include "libs/script/stack_text.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace millrace::script {
namespace {

/// Takes ":<number>" off the end of `text`.
bool TakeNumber(std::string_view* text, int* number) {
  const size_t colon = text->rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text->size()) return false;
  const std::string_view digits = text->substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *number);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  text->remove_suffix(text->size() - colon);
  return true;
}

SourcePlace PlaceOf(std::string_view line) {
  constexpr std::string_view kAt = "    at ";
  if (line.substr(0, kAt.size()) != kAt) return {};
  line.remove_prefix(kAt.size());
  if (!line.empty() && line.back() == ')') {
    line.remove_suffix(1);
    const size_t open = line.rfind(" (");
    if (open == std::string_view::npos) return {};
    line.remove_prefix(open + 2);
  }
  SourcePlace place;
  if (!TakeNumber(&line, &place.column) || !TakeNumber(&line, &place.line)) return {};
  place.name = line;
  return place;
}

template <typename Use>
void ForEachLine(std::string_view text, Use use) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (!use(text.substr(0, end))) return;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

SourcePlace PlaceAt(std::string_view source, size_t offset) {
  const std::string_view before = source.substr(0, offset);
  const size_t line_start = before.rfind('\n') + 1;  // npos + 1 == 0
  return {.line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          .column = static_cast<int>(offset - line_start) + 1};
}

/// Where the last import or export statement of `head` names `binding`.
std::optional<size_t> FindBinding(std::string_view head, std::string_view binding) {
  size_t statement = 0;
  for (const std::string_view word : {"import", "export"}) {
    const size_t found = head.rfind(word);
    if (found != std::string_view::npos) statement = std::max(statement, found + word.size());
  }
  const auto in_word = [&](size_t at) {
    return at < head.size() && (std::isalnum(static_cast<unsigned char>(head[at])) != 0 ||
                                head[at] == '_' || head[at] == '$');
  };
  for (size_t at = head.find(binding, statement); at != std::string_view::npos;
       at = head.find(binding, at + 1)) {
    if (!in_word(at - 1) && !in_word(at + binding.size())) return at;
  }
  return std::nullopt;
}

}  // namespace

std::string UsersStack(std::string_view stack) {
  std::string kept;
  ForEachLine(stack, [&](std::string_view line) {
    const bool ours = line.find("(<adapter>:") != std::string_view::npos ||
                      line.find("(<prelude>:") != std::string_view::npos;
    if (!ours && !line.empty()) kept.append(line).push_back('\n');
    return true;
  });
  // Native functions that only the adapter called lead nowhere.
  constexpr std::string_view kNative = " (native)\n";
  while (kept.size() >= kNative.size() &&
         std::string_view(kept).substr(kept.size() - kNative.size()) == kNative) {
    const size_t line = kept.size() >= 2 ? kept.rfind('\n', kept.size() - 2) : std::string::npos;
    kept.resize(line == std::string::npos ? 0 : line + 1);
  }
  return kept;
}

SourcePlace FirstPlace(std::string_view stack) {
  SourcePlace place;
  ForEachLine(stack, [&](std::string_view line) {
    place = PlaceOf(line);
    return place.line == 0;
  });
  return place;
}

SourcePlace PlaceOfImport(std::string_view source, std::string_view name,
                          std::string_view binding) {
  for (const char quote : {'\'', '"'}) {
    const std::string wanted = quote + std::string(name) + quote;
    for (size_t at = source.find(wanted); at != std::string_view::npos;
         at = source.find(wanted, at + 1)) {
      size_t before = at;
      while (before > 0 && std::isspace(static_cast<unsigned char>(source[before - 1])) != 0)
        --before;
      const std::string_view head = source.substr(0, before);
      const auto ends_with = [&](std::string_view word) {
        return head.size() >= word.size() && head.substr(head.size() - word.size()) == word;
      };
      if (!ends_with("from") && !ends_with("import") && !ends_with("(")) continue;
      if (binding.empty()) return PlaceAt(source, at);
      return PlaceAt(source, FindBinding(head, binding).value_or(at));
    }
  }
  return {};
}

}  // namespace millrace::script
