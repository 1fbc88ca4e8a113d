#include "services/millrace/cli/line_diff.h"

#include <algorithm>
#include <vector>

namespace millrace::cli {
namespace {

using Lines = std::vector<std::string_view>;

constexpr size_t kAround = 2;
constexpr size_t kMaxCells = 4'000'000;

struct Edit {
  char mark;  // ' ', '-' or '+'
  std::string_view line;
};

Lines Split(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// By the longest common subsequence; of texts too large for that, all is taken as replaced.
std::vector<Edit> EditsOf(const Lines& before, const Lines& after) {
  std::vector<Edit> edits;
  const size_t rows = before.size() + 1, columns = after.size() + 1;
  if (rows * columns > kMaxCells) {
    for (const auto& line : before) edits.push_back({'-', line});
    for (const auto& line : after) edits.push_back({'+', line});
    return edits;
  }
  std::vector<uint32_t> common(rows * columns);  // of the texts from there on
  for (size_t i = before.size(); i-- > 0;) {
    for (size_t j = after.size(); j-- > 0;) {
      common[i * columns + j] = before[i] == after[j] ? common[(i + 1) * columns + j + 1] + 1
                                                      : std::max(common[(i + 1) * columns + j],
                                                                 common[i * columns + j + 1]);
    }
  }
  size_t i = 0, j = 0;
  while (i < before.size() || j < after.size()) {
    if (i < before.size() && j < after.size() && before[i] == after[j]) {
      edits.push_back({' ', before[i++]});
      ++j;
    } else if (j == after.size() || (i < before.size() && common[(i + 1) * columns + j] >=
                                                              common[i * columns + j + 1])) {
      edits.push_back({'-', before[i++]});
    } else {
      edits.push_back({'+', after[j++]});
    }
  }
  return edits;
}

}  // namespace

std::string LineDiff(std::string_view before, std::string_view after) {
  const auto edits = EditsOf(Split(before), Split(after));
  std::vector<bool> shown(edits.size());
  for (size_t i = 0; i < edits.size(); ++i) {
    if (edits[i].mark == ' ') continue;
    const size_t end = std::min(edits.size(), i + kAround + 1);
    for (size_t j = i > kAround ? i - kAround : 0; j < end; ++j) shown[j] = true;
  }
  std::string text;
  for (size_t i = 0; i < edits.size(); ++i) {
    if (!shown[i]) {
      if (!text.empty() && shown[i - 1]) text += "  ...\n";
      continue;
    }
    text += edits[i].mark;
    text += ' ';
    text += edits[i].line;
    text += '\n';
  }
  if (text.size() > 6 && text.compare(text.size() - 6, 6, "  ...\n") == 0)
    text.resize(text.size() - 6);
  return text;
}

}  // namespace millrace::cli
