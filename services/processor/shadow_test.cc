#include "services/processor/shadow.h"

#include <catch2/catch.hpp>

#include <map>
#include <string>

#include "millrace/transformation/v1/report.pb.h"
#include "services/processor/processor_fixture.h"

namespace millrace::processor {
namespace {

/// A workspace whose connection to d1 has one transformation with a shadow.
std::shared_ptr<config::v1::Workspace> Shadowed(const std::string& code, const std::string& shadow,
                                                uint32_t permille) {
  auto workspace = TestWorkspace();
  AddTransformation(*workspace, "t1", code);
  auto& transformation = *workspace->mutable_transformations(0);
  *transformation.mutable_shadow() = transformation.published();
  transformation.mutable_shadow()->set_id("t1.v2");
  transformation.mutable_shadow()->set_code(shadow);
  transformation.set_shadow_permille(permille);
  workspace->mutable_destinations(0)->add_transformations()->set_transformation_id("t1");
  return workspace;
}

/// Sums of the reports by version, read until the shadow has compared so many.
std::map<std::string, transformation::v1::VersionReport> Reports(Fixture& f, int64_t compared) {
  std::map<std::string, transformation::v1::VersionReport> sums;
  const auto reader = *f.log->NewConsumer({});
  const event_log::CommittedOffset start{{std::string(event_log::kReportTopic), 0}, -1, ""};
  REQUIRE(reader->Assign({&start, 1}).ok());
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (sums["t1.v2"].shadow().compared() < compared &&
         std::chrono::steady_clock::now() < deadline) {
    const auto batch = *reader->Poll({.timeout = std::chrono::milliseconds(500)});
    for (const auto& record : batch.records) {
      transformation::v1::TransformationReport report;
      REQUIRE(report.ParseFromArray(record.value.data(), static_cast<int>(record.value.size())));
      CHECK(report.workspace_id() == "w1");
      for (const auto& version : report.versions()) {
        auto& sum = sums[version.version_id()];
        const auto before = sum;
        sum.MergeFrom(version);  // samples and lines
        sum.set_events(before.events() + version.events());
        sum.set_produced(before.produced() + version.produced());
        sum.set_dropped(before.dropped() + version.dropped());
        sum.set_failed(before.failed() + version.failed());
        auto& shadow = *sum.mutable_shadow();
        shadow.set_compared(before.shadow().compared() + version.shadow().compared());
        shadow.set_equal(before.shadow().equal() + version.shadow().equal());
        shadow.set_different(before.shadow().different() + version.shadow().different());
        shadow.set_failed(before.shadow().failed() + version.shadow().failed());
      }
    }
  }
  return sums;
}

TEST_CASE("JSON is the same whatever the order of its members", "[shadow]") {
  CHECK(SameJson(R"({"a":1,"b":[1,2]})", R"({"b":[1,2],"a":1})"));
  CHECK(SameJson(R"({"a":1})", R"({ "a": 1 })"));
  CHECK(!SameJson(R"({"a":1})", R"({"a":2})"));
  CHECK(!SameJson(R"({"b":[1,2]})", R"({"b":[2,1]})"));
  CHECK(!SameJson(R"({"a":1})", "{"));
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  CHECK(SameJson(deep, deep));
  CHECK(!SameJson(deep, deep + " "));
}

TEST_CASE("A shadow is compared and delivers nothing", "[shadow]") {
  struct Case {
    const char* in_force;
    const char* shadow;
    int64_t equal, different, failed;
  };
  const auto c = GENERATE(values<Case>({{"type track", "copies 1", 10, 0, 0},
                                        {"copies 1", "drop", 0, 10, 0},
                                        {"copies 1", "fail", 0, 0, 10},
                                        {"fail", "fail", 10, 0, 0},
                                        {"fail", "copies 1", 0, 10, 0}}));
  CAPTURE(c.in_force, c.shadow);
  Fixture f(Shadowed(c.in_force, c.shadow, 1000));
  for (int i = 0; i < 10; ++i) f.Send("s1", "m" + std::to_string(i));
  f.Start();
  f.WaitUntilCounted();
  const auto reports = Reports(f, 10);
  f.Stop();
  const auto& shadow = reports.at("t1.v2");
  CHECK(shadow.events() == 10);
  CHECK(shadow.shadow().equal() == c.equal);
  CHECK(shadow.shadow().different() == c.different);
  CHECK(shadow.shadow().failed() == c.failed);
  CHECK(shadow.shadow().samples().empty() == (c.equal == 10));
  CHECK(reports.at("t1.v1").events() == 10);
  CHECK(f.Values("destination.d1").size() == (c.in_force == std::string("fail") ? 0 : 10));
  for (const auto& letter : f.Letters())
    CHECK(letter.reason().find("version 1") != std::string::npos);
}

TEST_CASE("A shadow runs on a stable share", "[shadow]") {
  Fixture f(Shadowed("copies 1", "copies 1", 300));
  int64_t share = 0;
  for (int i = 0; i < 200; ++i) {
    f.Send("s1", "m" + std::to_string(i));
    share += Murmur2("m" + std::to_string(i)) % 1000 < 300 ? 1 : 0;
  }
  f.Start();
  f.WaitUntilCounted();
  CHECK(Reports(f, share).at("t1.v2").events() == share);
  f.Stop();
  CHECK(share > 30);
  CHECK(share < 90);
}

TEST_CASE("A shadow's state is lost", "[shadow]") {
  Fixture f(Shadowed("count n", "count n", 1000));
  for (int i = 0; i < 5; ++i) f.SendAs("user", "s1", "m" + std::to_string(i));
  f.Start();
  f.WaitUntilCounted();
  CHECK(Reports(f, 5).at("t1.v2").shadow().equal() == 5);
  f.Stop();
  const auto values = f.Values("destination.d1");
  REQUIRE(values.size() == 5);
  CHECK(values[4].find("\"n\":5") != std::string::npos);
}

TEST_CASE("Lines of log() are told, so many a second", "[shadow]") {
  auto workspace = Shadowed("log hello", "copies 1", 1000);
  Fixture f(workspace);
  f.transformation.set_log_lines_per_second(3);
  for (int i = 0; i < 10; ++i) f.Send("s1", "m" + std::to_string(i));
  f.Start();
  f.WaitUntilCounted();
  const auto reports = Reports(f, 10);
  f.Stop();
  const auto& told = reports.at("t1.v1");
  REQUIRE(told.logs_size() >= 3);
  CHECK(told.logs_size() <= 6);  // the second may have changed meanwhile
  CHECK(told.logs(0).text() == "hello");
  CHECK(told.logs(0).message_id()[0] == 'm');
}

}  // namespace
}  // namespace millrace::processor
