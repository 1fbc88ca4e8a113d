#include "libs/json/writer.h"

#include <utility>

namespace millrace::json {

void AppendQuoted(std::string_view text, std::string* out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out->push_back('"');
  size_t kept = 0;  // what is before is in `out`
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out->append(text, kept, at - kept);
    kept = at + 1;
    switch (byte) {
      case '"':
        out->append("\\\"");
        break;
      case '\\':
        out->append("\\\\");
        break;
      case '\n':
        out->append("\\n");
        break;
      case '\r':
        out->append("\\r");
        break;
      case '\t':
        out->append("\\t");
        break;
      default:
        out->append("\\u00");
        out->push_back(kHex[byte >> 4]);
        out->push_back(kHex[byte & 15]);
    }
  }
  out->append(text, kept);
  out->push_back('"');
}

std::string Quote(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 2);
  AppendQuoted(text, &out);
  return out;
}

void ObjectWriter::Name(std::string_view name) {
  if (!empty()) json_.push_back(',');
  AppendQuoted(name, &json_);
  json_.push_back(':');
}

ObjectWriter& ObjectWriter::Text(std::string_view name, std::string_view value) {
  Name(name);
  AppendQuoted(value, &json_);
  return *this;
}

ObjectWriter& ObjectWriter::Number(std::string_view name, int64_t value) {
  Name(name);
  json_ += std::to_string(value);
  return *this;
}

ObjectWriter& ObjectWriter::Raw(std::string_view name, std::string_view value) {
  Name(name);
  json_ += value;
  return *this;
}

std::string ObjectWriter::Take() {
  json_.push_back('}');
  return std::exchange(json_, "{");
}

}  // namespace millrace::json
