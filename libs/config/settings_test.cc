#include "libs/config/settings.h"

#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <random>

#include "libs/base/file.h"
#include "libs/base/ids.h"
#include "millrace/settings/v1/common.pb.h"

namespace millrace::config {
namespace {

std::string TemporaryFile(const std::string& text) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("settings-" + NewUuid() + ".yaml")).string();
  REQUIRE(WriteFileAtomically(path, text, 0600).ok());
  return path;
}

}  // namespace

TEST_CASE("file, environment and overrides, later ones winning", "[settings]") {
  const std::string path = TemporaryFile(
      "backend: kafka\nkafka:\n  brokers: \"a:1\"\n  properties: {sasl.username: u, \"x\": \"1\"}\n"
      "ingest_partitions: 3\n");
  settings::v1::EventLogSettings settings;
  const Status status = LoadSettings(path, "MILLRACE", {"MILLRACE__KAFKA__BROKERS=b:2", "OTHER=1"},
                                     {{"ingest_partitions", "7"}}, &settings);
  std::filesystem::remove(path);
  CAPTURE(Message(status));
  REQUIRE(status.ok());
  CHECK(settings.backend() == "kafka");
  CHECK(settings.kafka().brokers() == "b:2");
  CHECK(settings.kafka().properties().at("sasl.username") == "u");
  CHECK(settings.ingest_partitions() == 7);
}

TEST_CASE("what is wrong is named with its place", "[settings]") {
  settings::v1::EventLogSettings settings;
  const std::string unknown = TemporaryFile("kafka: {brokrs: x}\n");
  Status status = LoadSettings(unknown, "MILLRACE", {}, {}, &settings);
  CHECK(Message(status).find("brokrs") != std::string_view::npos);
  CHECK(Message(status).find(unknown) != std::string_view::npos);
  const std::string broken = TemporaryFile("kafka: {brokers: [\n");
  status = LoadSettings(broken, "MILLRACE", {}, {}, &settings);
  CHECK(Message(status).find("line") != std::string_view::npos);
  status = LoadSettings("", "MILLRACE", {"MILLRACE__KAFKAS__X=1"}, {}, &settings);
  CHECK(Message(status).find("MILLRACE__KAFKAS__X") != std::string_view::npos);
  status = LoadSettings("", "MILLRACE", {}, {{"ingest_partitions", "many"}}, &settings);
  CHECK(Message(status).find("ingest_partitions") != std::string_view::npos);
  settings::v1::ControlPlaneClientSettings client;
  status = LoadSettings("", "MILLRACE", {"MILLRACE__TOKEN=98765"}, {}, &client);
  CHECK(Message(status) ==
        "MILLRACE__TOKEN: token takes text; put it in quotes");  // no secret in it
  CHECK(LoadSettings("/nowhere/x.yaml", "MILLRACE", {}, {}, &settings).code() ==
        StatusCode::kNotFound);
  std::filesystem::remove(unknown);
  std::filesystem::remove(broken);
}

TEST_CASE("settings files at random are read or refused in one line", "[settings][fuzz]") {
  const std::string seed =
      "backend: kafka\nkafka:\n  brokers: \"a:1,b:2\"\n  properties: {x: '1', y: ''}\n"
      "local: &l {quota_bytes: 1000}\ningest_partitions: 3\n";
  const std::vector<std::string> pieces = {"{",    "}",     "[",         "]",
                                           ": ",   "- ",    "\n",        "  ",
                                           "*l",   "&a ",   "!!binary ", "<<: *l\n",
                                           "|\n",  "---\n", "'",         "\"",
                                           "\xff", "\t",    "? ",        "99999999999999999999",
                                           "~",    "#"};
  std::mt19937 random(20261125);
  const std::string path = TemporaryFile("");
  int taken = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = seed;
    for (uint32_t mutations = random() % 4; mutations > 0; --mutations) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0)
        text.insert(at, pieces[random() % pieces.size()]);
      else
        text.erase(at, 1 + random() % 5);
    }
    { std::ofstream(path, std::ios::trunc) << text; }
    settings::v1::EventLogSettings settings;
    const Status status = LoadSettings(path, "MILLRACE", {}, {}, &settings);
    CAPTURE(round, text);
    if (status.ok())
      ++taken;
    else if (Message(status).find(path) == std::string_view::npos)
      FAIL(Message(status));
    else if (Message(status).find('\n') != std::string_view::npos)
      FAIL(Message(status));
  }
  std::filesystem::remove(path);
  CHECK(taken > 100);
}

}  // namespace millrace::config
