#include "libs/pipeline/topology.h"

#include <algorithm>
#include <fstream>
#include <iterator>

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

std::string Row(const TopicSpec& topic) {
  const int partitions = topic.options.partitions;
  return fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", topic.name, topic.key,
                     partitions == 1   ? "1"
                     : partitions == 2 ? "`event_log.ingest_partitions`"
                                       : "`event_log.destination_partitions`",
                     topic.kept, topic.writers, topic.readers);
}

TEST_CASE("docs/architecture.md shows every topic as it is", "[topology]") {
  const TopologyOptions options{.ingest_partitions = 2, .destination_partitions = 3};
  std::vector<TopicSpec> topics = SharedTopics(options);
  for (const TopicSpec& topic : DestinationTopics("<id>", DestinationKind::kRouted, options)) {
    topics.push_back(topic);
  }
  std::string table =
      "| topic | key | partitions | kept | writers | readers |\n| - | - | - | - | - | - |\n";
  for (const TopicSpec& topic : topics) table += Row(topic);
  std::ifstream file(MILLRACE_DOCS "/architecture.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  INFO("the table that docs/architecture.md must hold:\n" << table);
  CHECK(page.find(table) != std::string::npos);
}

}  // namespace
}  // namespace millrace::pipeline
