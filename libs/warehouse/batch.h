#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/warehouse/schema.h"
#include "libs/warehouse/table_rows.h"
#include "libs/warehouse/types.h"

namespace millrace::warehouse {

/// The rows of one load, by table, and the values that did not fit as rows of rudder_discards.
///
/// One thread. The schema outlives it and does not change meanwhile.
class Batch {
 public:
  /// `loaded_at`: the time of uuid_ts, ISO 8601.
  Batch(const Schema& schema, size_t max_columns, std::string loaded_at);

  void Add(const Row& row, int64_t received_us, std::string_view received_at);
  /// Notes a value, or with no column a whole row, that could not be stored.
  void AddDiscard(std::string_view table, std::string_view row_id, const Discard& discard,
                  std::string_view received_at);

  /// Ends the adding.
  void Finish();
  std::vector<SchemaChange> Changes() const;
  std::vector<const TableRows*> Tables() const;

  size_t rows() const;
  size_t bytes() const;
  size_t discards() const { return discards_; }

 private:
  TableRows& Table(std::string_view name);

  const Schema& schema_;
  const size_t max_columns_;
  const std::string loaded_at_;
  std::map<std::string, TableRows, std::less<>> tables_;
  StringSet discarded_;
  size_t discards_ = 0;
};

inline constexpr std::string_view kDiscardsTable = "rudder_discards";

}  // namespace millrace::warehouse
