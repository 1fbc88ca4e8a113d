#include "libs/warehouse/values.h"

namespace millrace::warehouse {
namespace {

/// Reads ISO 8601 piece by piece.
class TimeReader {
 public:
  explicit TimeReader(std::string_view text) : text_(text) {}

  bool done() const { return at_ == text_.size(); }
  bool Take(char c) {
    if (done() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool TakeNumber(int digits, int low, int high, int* value) {
    int number = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      if (done() || text_[at_] < '0' || text_[at_] > '9') return false;
      number = number * 10 + (text_[at_] - '0');
    }
    *value = number;
    return number >= low && number <= high;
  }
  bool TakeDigits() {
    const size_t before = at_;
    while (!done() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ > before;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

int DaysOf(int year, int month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

bool TakeOffset(TimeReader& reader) {
  if (reader.Take('Z') || reader.Take('z')) return reader.done();
  if (!reader.Take('+') && !reader.Take('-')) return false;
  int hours = 0;
  int minutes = 0;
  if (!reader.TakeNumber(2, 0, 15, &hours)) return false;
  if (reader.done()) return true;
  reader.Take(':');
  return reader.TakeNumber(2, 0, 59, &minutes) && reader.done();
}

}  // namespace

std::string_view TypeName(DataType type) {
  switch (type) {
    case DataType::kString:
      return "string";
    case DataType::kInt:
      return "int";
    case DataType::kFloat:
      return "float";
    case DataType::kBoolean:
      return "boolean";
    case DataType::kDatetime:
      return "datetime";
    case DataType::kJson:
      return "json";
    case DataType::kUnsupported:
      break;
  }
  return "unsupported";
}

bool IsDatetime(std::string_view text) {
  // Most strings are none: looked at before all else.
  if (text.size() < 10 || text.size() > 48 || text[4] != '-' || text[7] != '-') return false;
  TimeReader reader(text);
  int year = 0;
  int month = 0;
  int part = 0;
  if (!reader.TakeNumber(4, 1, 9999, &year) || !reader.Take('-') ||
      !reader.TakeNumber(2, 1, 12, &month) || !reader.Take('-') ||
      !reader.TakeNumber(2, 1, DaysOf(year, month), &part)) {
    return false;
  }
  if (reader.done()) return true;
  if (!reader.Take('T') && !reader.Take(' ')) return false;
  if (!reader.TakeNumber(2, 0, 23, &part) || !reader.Take(':') ||
      !reader.TakeNumber(2, 0, 59, &part)) {
    return false;
  }
  if (reader.Take(':')) {
    if (!reader.TakeNumber(2, 0, 59, &part)) return false;
    if (reader.Take('.') && !reader.TakeDigits()) return false;
  }
  return reader.done() || TakeOffset(reader);
}

bool Fits(DataType have, DataType want) {
  if (want == DataType::kUnsupported) return false;
  return have == want || want == DataType::kString || want == DataType::kJson ||
         (have == DataType::kInt && want == DataType::kFloat);
}

std::string WithoutEscapedNul(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '\\' && i + 1 < json.size()) {
      if (json.substr(i, 6) == "\\u0000") {
        i += 5;
        continue;
      }
      out.push_back(json[i++]);
    }
    out.push_back(json[i]);
  }
  return out;
}

void AppendCopyText(std::string_view text, std::string* out) {
  size_t clean = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char escaped = 0;
    switch (text[i]) {
      case '\\':
        escaped = '\\';
        break;
      case '\t':
        escaped = 't';
        break;
      case '\n':
        escaped = 'n';
        break;
      case '\r':
        escaped = 'r';
        break;
      case '\0':
        break;
      default:
        continue;
    }
    out->append(text, clean, i - clean);
    if (escaped != 0) {
      out->push_back('\\');
      out->push_back(escaped);
    }
    clean = i + 1;
  }
  out->append(text, clean, text.size() - clean);
}

}  // namespace millrace::warehouse
