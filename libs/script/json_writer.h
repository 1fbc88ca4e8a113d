#pragma once

#include <quickjs.h>

#include <string>
#include <vector>

namespace millrace::script {

/// Writes JavaScript values as JSON text, byte for byte as JSON.stringify(value) would (toJSON,
/// boxed values, dates, lone surrogates), several times faster. Throws in the context what
/// JSON.stringify would throw. What was made of JSON text (mr_parse_lazily) and not read since is
/// copied, so that its numbers keep their spelling. One thread; of use as long as its context.
class JsonWriter {
 public:
  /// Objects of class `raw_class` are written as {"$raw":true}.
  JsonWriter(JSContext* context, JSClassID raw_class, size_t max_bytes);
  ~JsonWriter();
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  enum class Result { kWritten, kUndefined, kException };
  /// Appends to `out`; kUndefined: the value has no JSON form, nothing was written.
  Result Write(JSValueConst value, std::string* out);
  /// Whether the last Write was refused for size, depth or a cycle.
  bool refused() const { return refused_; }

 private:
  enum class Fast { kWritten, kUndefined, kSlow, kException };
  /// Writes what needs no code of the script to run; kSlow: `value` is not of that kind, nothing
  /// has happened, but `out` has grown.
  Fast WriteFast(JSValueConst value, int depth, std::string* out);
  Fast WriteFastObject(JSValueConst object, uint32_t count, int depth, std::string* out);
  bool WriteName(JSAtom name, std::string* out);
  Result WriteValue(JSValue value, JSValueConst key, std::string* out);  // takes `value` over
  Result WriteObject(JSValueConst object, std::string* out);
  Result WriteArray(JSValueConst array, std::string* out);
  Result WriteText(JSValueConst text, std::string* out);
  Result CallToJson(JSValue* value, JSValueConst key);
  Result Throw(const char* message);
  Result Refuse(const char* message);

  JSContext* context_;
  JSClassID raw_class_;
  size_t max_bytes_;
  bool refused_ = false;
  JSAtom to_json_;
  JSClassID number_class_, string_class_, boolean_class_, bigint_class_;
  std::vector<void*> path_;
};

}  // namespace millrace::script
