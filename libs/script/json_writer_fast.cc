#include <charconv>
#include <string_view>

#include "libs/script/json_text.h"
#include "libs/script/json_writer.h"
#include "libs/script/quickjs/extras.h"

namespace millrace::script {
namespace {

// Deeper values are left to the generic way, which also finds cycles.
constexpr int kMaxFastDepth = 64;

/// Appends `text` between quotes when each of its characters stands for itself in JSON and UTF-8.
bool AppendPlain(std::string_view text, std::string* out) {
  bool plain = true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    plain &= byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
  }
  if (!plain) return false;
  const size_t before = out->size();
  out->resize(before + text.size() + 2);
  char* to = out->data() + before;
  *to = '"';
  text.copy(to + 1, text.size());
  to[text.size() + 1] = '"';
  return true;
}

}  // namespace

bool JsonWriter::WriteName(JSAtom name, std::string* out) {
  size_t size = 0;
  const char* text = JS_AtomToCStringLen(context_, &size, name);
  if (text == nullptr) return false;
  AppendQuoted(std::string_view(text, size), out);
  JS_FreeCString(context_, text);
  out->push_back(':');
  return true;
}

JsonWriter::Fast JsonWriter::WriteFast(JSValueConst value, int depth, std::string* out) {
  switch (JS_VALUE_GET_NORM_TAG(value)) {
    case JS_TAG_NULL:
      out->append("null");
      return Fast::kWritten;
    case JS_TAG_BOOL:
      out->append(JS_VALUE_GET_BOOL(value) != 0 ? "true" : "false");
      return Fast::kWritten;
    case JS_TAG_INT: {
      char digits[16];
      const auto end = std::to_chars(digits, digits + sizeof(digits), JS_VALUE_GET_INT(value)).ptr;
      out->append(digits, end);
      return Fast::kWritten;
    }
    case JS_TAG_UNDEFINED:
      return Fast::kUndefined;
    case JS_TAG_STRING:
    case JS_TAG_OBJECT:
      break;
    default:  // what runs no code of the script
      if (JS_IsNumber(value) || JS_IsString(value)) {
        return WriteValue(JS_DupValue(context_, value), JS_UNDEFINED, out) == Result::kWritten
                   ? Fast::kWritten
                   : Fast::kException;
      }
      return Fast::kSlow;
  }
  const MrView view = mr_view(context_, value, to_json_);
  if (view.kind == MR_STRING) {
    if (view.is_latin1 && AppendPlain(std::string_view(view.text, view.count), out)) {
      return out->size() > max_bytes_ ? Fast::kSlow : Fast::kWritten;
    }
    return WriteText(value, out) == Result::kWritten ? Fast::kWritten : Fast::kException;
  }
  if (depth >= kMaxFastDepth || out->size() > max_bytes_) return Fast::kSlow;
  if (view.kind == MR_OBJECT) return WriteFastObject(value, view.count, depth, out);
  if (view.kind != MR_ARRAY) return Fast::kSlow;
  out->push_back('[');
  for (uint32_t i = 0; i < view.count; ++i) {
    if (i > 0) out->push_back(',');
    const Fast item = WriteFast(view.values[i], depth + 1, out);
    if (item == Fast::kUndefined) {
      out->append("null");
    } else if (item != Fast::kWritten) {
      return item;
    }
  }
  out->push_back(']');
  return Fast::kWritten;
}

JsonWriter::Fast JsonWriter::WriteFastObject(JSValueConst object, uint32_t count, int depth,
                                             std::string* out) {
  out->push_back('{');
  bool first = true;
  for (uint32_t i = 0; i < count; ++i) {
    const MrEntry entry = mr_entry(context_, object, i);
    if (entry.kind == MR_ENTRY_SKIP) continue;
    if (entry.kind == MR_ENTRY_SLOW) return Fast::kSlow;
    if (entry.kind == MR_ENTRY_ERROR) return Fast::kException;
    const size_t before = out->size();
    if (!first) out->push_back(',');
    if (entry.kind == MR_ENTRY_PAIR) {
      out->append(entry.raw, entry.raw_size);
      first = false;
      continue;
    }
    if (entry.key != nullptr && AppendPlain(std::string_view(entry.key, entry.key_size), out)) {
      out->push_back(':');
    } else if (!WriteName(entry.atom, out)) {
      return Fast::kException;
    }
    if (entry.kind == MR_ENTRY_RAW) {
      AppendWithoutSpaces(std::string_view(entry.raw, entry.raw_size), out);
      first = false;
      continue;
    }
    const Fast item = WriteFast(entry.value, depth + 1, out);
    if (item == Fast::kUndefined) {
      out->resize(before);
    } else if (item == Fast::kWritten) {
      first = false;
    } else {
      return item;
    }
  }
  out->push_back('}');
  return Fast::kWritten;
}

}  // namespace millrace::script
