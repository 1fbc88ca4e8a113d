#include "tests/conformance/compare.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace millrace::conformance {
namespace {

constexpr std::string_view kAt = "    at ";

/// Takes ":<number>" off the end of `text`.
bool TakeNumber(std::string_view* text, int* number) {
  const size_t colon = text->rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view digits = text->substr(colon + 1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *number);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return false;
  *text = text->substr(0, colon);
  return true;
}

std::optional<Frame> ReadFrame(std::string_view line, const FileNames& file_names) {
  line.remove_prefix(kAt.size());
  std::string_view function;
  if (!line.empty() && line.back() == ')') {
    const size_t open = line.rfind(" (");
    if (open == std::string_view::npos) return std::nullopt;
    function = line.substr(0, open);
    line = line.substr(open + 2, line.size() - open - 3);
  }
  // After an await engines differ in what they show.
  if (function.substr(0, 6) == "async " || line.substr(0, 6) == "async ") return std::nullopt;
  int column = 0;
  Frame frame;
  if (!TakeNumber(&line, &column) || !TakeNumber(&line, &frame.line)) return std::nullopt;
  const auto file = std::find_if(file_names.begin(), file_names.end(),
                                 [&](const auto& names) { return names.first == line; });
  if (file == file_names.end()) return std::nullopt;
  frame.file = file->second;
  if (function.substr(0, 4) == "new ") function.remove_prefix(4);
  const size_t dot = function.rfind('.');
  if (dot != std::string_view::npos) function.remove_prefix(dot + 1);
  if (function != "<anonymous>") frame.function = function;
  return frame;
}

std::string Show(const std::vector<Frame>& frames) {
  std::string text;
  for (const Frame& frame : frames) {
    text += fmt::format("{}{}({}:{})", text.empty() ? "" : " < ", frame.function, frame.file,
                        frame.line);
  }
  return text.empty() ? "no frames" : text;
}

std::string Short(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 200) text = text.substr(0, 200) + "...";
  return text;
}

bool SameNumber(const Json& a, const Json& b) {
  if (a.is_number_float() || b.is_number_float()) return a.get<double>() == b.get<double>();
  return a == b;
}

/// Whether V8 words this error itself: another engine has the same error in other words.
bool IsEngineWording(const std::string& message) {
  static const RE2 kWordings(
      "^(TypeError: (Cannot (read|set) propert|Cannot convert |Cannot assign to read only|Cannot "
      "redefine |"
      "Cannot destructure |Assignment to constant|Reduce of empty|Converting circular|Do not know "
      "how to serialize|"
      ".* is not (a function|iterable|a constructor|extensible))"
      "|ReferenceError: Cannot access "
      "|RangeError: (Maximum call stack|Invalid (array|string|typed array) length|Invalid "
      "(time|count) value|"
      "to(Fixed|Precision|String)\\(\\))"
      "|SyntaxError: (Unexpected |Invalid |Missing |Identifier |Expected |Bad |Malformed "
      "|Unterminated ))");
  return RE2::PartialMatch(message, kWordings);
}

std::string NameOf(const std::string& message) {
  return message.substr(0, message.find(':'));
}

}  // namespace

bool SameMessage(const std::string& recorded, const std::string& ours) {
  if (ours.compare(0, recorded.size(), recorded) == 0) return true;
  return IsEngineWording(recorded) && NameOf(recorded) == NameOf(ours);
}

ErrorText ReadError(std::string_view text, const FileNames& file_names) {
  ErrorText error;
  bool in_message = true;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.substr(0, kAt.size()) == kAt) {
      in_message = false;
      if (auto frame = ReadFrame(line, file_names)) error.frames.push_back(*std::move(frame));
    } else if (in_message) {
      error.message += (error.message.empty() ? "" : "\n") + std::string(line);
    }
  }
  return error;
}

std::string CompareErrors(const ErrorText& recorded, const ErrorText& ours) {
  if (!SameMessage(recorded.message, ours.message)) {
    return fmt::format("error: recorded '{}', ours '{}'", recorded.message, ours.message);
  }
  // The peer may name none of the user's files.
  if (!recorded.frames.empty() && !(recorded.frames == ours.frames)) {
    return fmt::format("stack of '{}': recorded {}, ours {}", recorded.message,
                       Show(recorded.frames), Show(ours.frames));
  }
  return {};
}

std::string CompareJson(const Json& recorded, const Json& ours, const std::string& path) {
  const auto different = [&] {
    return fmt::format("{}: recorded {}, ours {}", path.empty() ? "event" : path, Short(recorded),
                       Short(ours));
  };
  if (recorded.is_object() && ours.is_object()) {
    for (const auto& [name, value] : recorded.items()) {
      const std::string at = path + "/" + name;
      if (!ours.contains(name))
        return fmt::format("{}: recorded {}, ours nothing", at, Short(value));
      std::string found = CompareJson(value, ours[name], at);
      if (!found.empty()) return found;
    }
    for (const auto& [name, value] : ours.items()) {
      if (!recorded.contains(name)) {
        return fmt::format("{}/{}: recorded nothing, ours {}", path, name, Short(value));
      }
    }
    return {};
  }
  if (recorded.is_array() && ours.is_array()) {
    if (recorded.size() != ours.size()) return different();
    for (size_t i = 0; i < recorded.size(); ++i) {
      std::string found = CompareJson(recorded[i], ours[i], fmt::format("{}/{}", path, i));
      if (!found.empty()) return found;
    }
    return {};
  }
  if (recorded.is_string() && ours.is_string() &&
      recorded.get_ref<const std::string&>().find("\n    at ") != std::string::npos) {
    return {};  // a stack of the peer's own engine
  }
  const bool same =
      recorded.is_number() && ours.is_number() ? SameNumber(recorded, ours) : recorded == ours;
  return same ? std::string() : different();
}

}  // namespace millrace::conformance
