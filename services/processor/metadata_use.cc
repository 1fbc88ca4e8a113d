#include "services/processor/metadata_use.h"

#include <algorithm>
#include <string>
#include <vector>

namespace millrace::processor {
namespace {

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$' || (c & 0x80) != 0;
}

/// Names and single other characters, white space left out. Comments and strings are not
/// recognised: what stands in them can only make the answer "true".
std::vector<std::string_view> Tokens(std::string_view code) {
  std::vector<std::string_view> tokens;
  for (size_t at = 0; at < code.size();) {
    size_t end = at + 1;
    if (IsNameCharacter(code[at])) {
      while (end < code.size() && IsNameCharacter(code[end])) ++end;
    } else if (code[at] <= ' ') {
      at = end;
      continue;
    }
    tokens.push_back(code.substr(at, end - at));
    at = end;
  }
  return tokens;
}

bool IsName(std::string_view token) {
  return IsNameCharacter(token.front());
}

/// The second parameter of a function whose parameter list follows at `at`: "" = it has none. False
/// when the list is not plain names.
bool SecondParameter(const std::vector<std::string_view>& tokens, size_t at,
                     std::string_view* second) {
  const auto token = [&](size_t i) {
    return i < tokens.size() ? tokens[i] : std::string_view(" ");
  };
  // transformEvent(...) of a function, or transformEvent = [async] [function [name]] (...) | name
  // =>
  if (token(at) == "=") {
    ++at;
    if (token(at) == "async") ++at;
    if (token(at) == "function") ++at;
    if (IsName(token(at))) {
      if (token(at + 1) == "=" && token(at + 2) == ">") return true;
      ++at;
    }
  }
  if (token(at) != "(") return false;
  if (token(at + 1) == ")") return true;
  if (!IsName(token(at + 1))) return false;
  if (token(at + 2) == ")") return true;
  if (token(at + 2) != "," || !IsName(token(at + 3)) || token(at + 4) != ")") return false;
  *second = token(at + 3);
  return true;
}

/// Whether code can come to a name that its text does not show.
bool MakesNames(std::string_view code, const std::vector<std::string_view>& tokens) {
  if (code.find("\\u") != std::string_view::npos) return true;  // an escape may spell any
  for (const std::string_view name :
       {"arguments", "eval", "Function", "constructor", "globalThis"}) {
    if (std::count(tokens.begin(), tokens.end(), name) > 0) return true;
  }
  return false;
}

}  // namespace

bool LibraryMayReadMetadata(std::string_view code) {
  const auto tokens = Tokens(code);
  return MakesNames(code, tokens) || std::count(tokens.begin(), tokens.end(), "metadata") > 0;
}

bool MayReadMetadata(std::string_view code) {
  const auto tokens = Tokens(code);
  if (MakesNames(code, tokens)) return true;
  const auto count = [&](std::string_view name) {
    return std::count(tokens.begin(), tokens.end(), name);
  };
  bool found = false;
  auto mentions = count("metadata");  // it is a global, too
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] != "transformEvent" && tokens[i] != "transformBatch") continue;
    std::string_view second;
    if (!SecondParameter(tokens, i + 1, &second)) return true;
    if (!second.empty() && count(second) > 1) return true;
    if (second == "metadata") --mentions;
    found = true;
  }
  return !found || mentions > 0;
}

}  // namespace millrace::processor
