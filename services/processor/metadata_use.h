#pragma once

#include <string_view>

namespace millrace::processor {

/// Whether JavaScript could ask for metadata(event): false only when the text shows that
/// transformEvent and transformBatch take no second parameter, or never use the one they take. What
/// cannot ask gives the same result at every destination, and is spared the metadata. When in
/// doubt: true.
bool MayReadMetadata(std::string_view code);

/// The same for a library, which finds metadata as a global: whether its text mentions it.
bool LibraryMayReadMetadata(std::string_view code);

}  // namespace millrace::processor
