#include "libs/pipeline/topology.h"

#include <algorithm>

#include "catch2/catch.hpp"
#include "libs/testing/memory_log.h"

namespace millrace::pipeline {
namespace {

using std::chrono::hours;

const TopicSpec& Find(const std::vector<TopicSpec>& topics, std::string_view name) {
  const auto found = std::ranges::find(topics, name, &TopicSpec::name);
  REQUIRE(found != topics.end());
  return *found;
}

TEST_CASE("The changelog of dedup keeps the window that is asked for", "[topology]") {
  const auto month = ChangelogTopics({.dedup_window = hours(30 * 24)});
  CHECK(Find(month, "dedup").options.retention == hours(30 * 24));
  const auto hour = ChangelogTopics({.dedup_window = hours(1)});
  CHECK(Find(hour, "dedup").options.retention == hours(7 * 24));
}

TEST_CASE("No record that a group has to read goes by its age", "[topology]") {
  const TopologyOptions options{.ingest_partitions = 3, .destination_partitions = 5};
  CHECK(Find(SharedTopics(options), "ingest").options.readers ==
        std::vector<std::string>{"processor"});
  const auto routed = DestinationTopics("hook", DestinationKind::kRouted, options);
  CHECK(Find(routed, "destination.hook").options.readers == std::vector<std::string>{"router"});
  CHECK(Find(routed, "parking.hook").options.readers == std::vector<std::string>{"router"});
  CHECK(Find(routed, "parking.hook").options.partitions ==
        Find(routed, "destination.hook").options.partitions);
  const auto warehouse = DestinationTopics("lake", DestinationKind::kWarehouse, options);
  REQUIRE(warehouse.size() == 1);
  CHECK(warehouse[0].options.readers == std::vector<std::string>{"warehouse-loader"});
}

TEST_CASE("A destination's topics come and go together", "[topology]") {
  testing::MemoryLog log;
  REQUIRE(EnsureShared(log, {}).ok());
  const auto before = log.ListTopics();
  REQUIRE(EnsureDestination(log, "hook", DestinationKind::kRouted, {}).ok());
  CHECK(log.Describe("destination.hook").ok());
  CHECK(log.Describe("parking.hook").ok());
  REQUIRE(DeleteDestination(log, "hook").ok());
  REQUIRE(DeleteDestination(log, "hook").ok());
  CHECK(*log.ListTopics() == *before);
}

TEST_CASE("A topic tells its destination", "[topology]") {
  CHECK(DestinationOf("destination.a.b") == "a.b");
  CHECK(DestinationOf("parking.a") == std::nullopt);
  CHECK(DestinationOf("ingest") == std::nullopt);
  CHECK(ParkedDestinationOf("parking.a") == "a");
  CHECK(ParkedDestinationOf("destination.a") == std::nullopt);
}

}  // namespace
}  // namespace millrace::pipeline
