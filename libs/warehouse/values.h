#pragma once

#include <string>
#include <string_view>

#include "libs/warehouse/types.h"

namespace millrace::warehouse {

/// Whether `text` is a date or a date and time that a warehouse can store: ISO 8601 with a year
/// from 0001 to 9999, "T" or a blank before the time, minutes at least, any fraction, and an
/// offset or none.
bool IsDatetime(std::string_view text);

/// Whether a value of type `have` may stand in a column of type `want`; it keeps its text, except
/// that JSON of a string needs quotes (see CoercedText).
bool Fits(DataType have, DataType want);

/// `json` without the escapes of NUL that no warehouse stores.
std::string WithoutEscapedNul(std::string_view json);

/// Appends `text` to `out` in the form of PostgreSQL's COPY and ClickHouse's TabSeparated:
/// backslash, tab and line ends escaped; NUL left out.
void AppendCopyText(std::string_view text, std::string* out);

}  // namespace millrace::warehouse
