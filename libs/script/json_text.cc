#include "libs/script/json_text.h"

namespace millrace::script {

void AppendQuoted(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  size_t plain = 0;  // start of what needs no escape
  const auto escape = [&](size_t at, size_t length, std::string_view with) {
    out->append(text.substr(plain, at - plain));
    out->append(with);
    plain = at + length;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0xED) continue;
    switch (byte) {
      case '"':
        escape(i, 1, "\\\"");
        break;
      case '\\':
        escape(i, 1, "\\\\");
        break;
      case '\b':
        escape(i, 1, "\\b");
        break;
      case '\f':
        escape(i, 1, "\\f");
        break;
      case '\n':
        escape(i, 1, "\\n");
        break;
      case '\r':
        escape(i, 1, "\\r");
        break;
      case '\t':
        escape(i, 1, "\\t");
        break;
      case 0xED: {  // the engine's UTF-8 of a lone surrogate is ED A0..BF xx
        if (i + 2 >= text.size() || static_cast<unsigned char>(text[i + 1]) < 0xA0) break;
        const unsigned unit = 0xD000 | (static_cast<unsigned char>(text[i + 1]) & 0x3Fu) << 6 |
                              (static_cast<unsigned char>(text[i + 2]) & 0x3Fu);
        const char code[] = {'\\',           'u', 'd', kHex[unit >> 8 & 15], kHex[unit >> 4 & 15],
                             kHex[unit & 15]};
        escape(i, 3, std::string_view(code, sizeof(code)));
        i += 2;
        break;
      }
      default: {
        const char code[] = {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
        escape(i, 1, std::string_view(code, sizeof(code)));
      }
    }
  }
  out->append(text.substr(plain));
  out->push_back('"');
}

void AppendWithoutSpaces(std::string_view json, std::string* out) {
  size_t kept = 0;  // start of what is not yet appended
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') {
      for (++i; json[i] != '"'; ++i) {
        if (json[i] == '\\') ++i;
      }
    } else if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      out->append(json.substr(kept, i - kept));
      kept = i + 1;
    }
  }
  out->append(json.substr(kept));
}

}  // namespace millrace::script
