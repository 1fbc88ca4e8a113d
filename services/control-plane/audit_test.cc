#include "services/control-plane/audit.h"

#include <catch2/catch.hpp>

namespace millrace::control_plane {
namespace {

using accounting::v1::Fate;

CountRow Of(const std::string& stage, const std::string& destination, Fate fate, int64_t count) {
  return {.stage = stage,
          .source_id = "s",
          .destination_id = destination,
          .fate = fate,
          .reason = "",
          .count = count};
}

/// 20 events, two of them still in `ingest`, and one connection that has four to deliver.
std::vector<CountRow> Balanced() {
  return {Of("processor", "", Fate::ACCEPTED, 18), Of("processor", "", Fate::DUPLICATE, 3),
          Of("processor", "", Fate::PRODUCED, 4), Of("processor", "", Fate::DROPPED, 4),
          Of("processor", "", Fate::SOURCE_FILTERED, 1),
          Of("processor", "", Fate::SOURCE_DEAD_LETTERED, 2),
          Of("processor", "", Fate::PASSED_ON, 12), Of("processor", "d", Fate::PASSED_ON, 12),
          Of("processor", "d", Fate::FILTERED, 2), Of("processor", "d", Fate::ROUTED, 10),
          Of("router", "d", Fate::FILTERED, 1), Of("router", "d", Fate::DEAD_LETTERED, 2),
          Of("control-plane", "d", Fate::REDRIVEN, 1), Of("router", "d", Fate::DELIVERED, 4),
          // A transformation of the connection made 5 more, dropped 2 and failed on 3. One of these
          // was sent again and read, and failed once more; the other waits in `ingest`.
          Of("processor", "d", Fate::PRODUCED, 5), Of("processor", "d", Fate::DROPPED, 2),
          Of("processor", "d", Fate::DEAD_LETTERED, 3),
          Of("control-plane", "d", Fate::REDRIVEN_TO_CHAIN, 2),
          Of("processor", "", Fate::ACCEPTED, 1), Of("processor", "", Fate::RETURNED, 1),
          Of("processor", "d", Fate::DEAD_LETTERED, 1)};
}

PendingInLog Pending() {
  return {.sources = {{"s", 2}},
          .connections = {{{"s", "d"}, 4}},
          .redriven = {{{"s", "d"}, 1}},
          .destinations = {"d"}};
}

}  // namespace

TEST_CASE("rows balance when every event is somewhere", "[audit]") {
  PendingInLog pending = Pending();
  const bool in_log = GENERATE(true, false);
  if (!in_log) pending.destinations.clear();  // then by the counters
  const Audit audit = MakeAudit(Balanced(), pending);
  CHECK(audit.sources.at("s").accepted == 20);
  CHECK(audit.sources.at("s").passed_on == 12);
  CHECK(audit.connections.at({"s", "d"}).accepted == 12);
  CHECK(audit.connections.at({"s", "d"}).pending == 5);
  CHECK(audit.Residual() == 0);
}

TEST_CASE("a count that is missing makes its own row not balance", "[audit]") {
  const size_t missing = GENERATE(range(size_t{0}, Balanced().size()));
  std::vector<CountRow> counts = Balanced();
  const CountRow row = counts[missing];
  if (row.fate == Fate::ROUTED) return;  // only says what is pending where the log cannot
  counts.erase(counts.begin() + static_cast<std::ptrdiff_t>(missing));
  const Audit audit = MakeAudit(counts, Pending());
  CAPTURE(accounting::v1::Fate_Name(row.fate), row.stage);
  CHECK((audit.sources.at("s").Residual() != 0) == row.destination_id.empty());
  CHECK((audit.connections.at({"s", "d"}).Residual() != 0) == !row.destination_id.empty());
  CHECK(audit.Residual() == row.count);
}

TEST_CASE("an event that is gone from the log makes its connection not balance", "[audit]") {
  PendingInLog pending = Pending();
  pending.connections.at({"s", "d"}) = 3;
  const Audit audit = MakeAudit(Balanced(), pending);
  CHECK(audit.connections.at({"s", "d"}).Residual() == 1);
  CHECK(audit.Residual() == 1);
}

TEST_CASE("differences of two rows do not cancel out", "[audit]") {
  std::vector<CountRow> counts = Balanced();
  counts.push_back(Of("router", "d", Fate::DELIVERED, 1));
  counts.push_back(Of("processor", "", Fate::ACCEPTED, 1));
  const Audit audit = MakeAudit(counts, Pending());
  CHECK(audit.Residual() == 2);
}

}  // namespace millrace::control_plane
