#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::json {

/// Appends `text`, valid UTF-8, as a JSON string with its quotes.
void AppendQuoted(std::string_view text, std::string* out);
std::string Quote(std::string_view text);

/// Writes one JSON object member by member, in the order of the calls. The one place where a name
/// and its value are put together: names are escaped like texts. It does not look for names that
/// stand twice. One thread.
class ObjectWriter {
 public:
  /// `value` is a text of any content.
  ObjectWriter& Text(std::string_view name, std::string_view value);
  ObjectWriter& Number(std::string_view name, int64_t value);
  /// `value` is JSON already.
  ObjectWriter& Raw(std::string_view name, std::string_view value);

  bool empty() const { return json_.size() == 1; }
  /// The object; the writer starts anew.
  std::string Take();

 private:
  void Name(std::string_view name);
  std::string json_ = "{";
};

}  // namespace millrace::json
