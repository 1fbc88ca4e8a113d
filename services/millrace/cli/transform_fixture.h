#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/transformation/fetcher.h"
#include "libs/transformation/geolocation.h"
#include "libs/transformation/transformer.h"

namespace millrace::cli {

/// What goes into a transformation and what must come out. Read from JSON: docs/transformations.md.
struct Fixture {
  std::string name;
  std::vector<std::string> events;  // JSON
  std::string metadata = "{}";      // what metadata(event) gives, as a JSON object
  nlohmann::json fetches = nlohmann::json::object();      // URL -> answer
  nlohmann::json geolocation = nlohmann::json::object();  // address -> answer
  int64_t now_us = 0;

  std::optional<nlohmann::json> expected_events;  // an array
  bool expect_dropped = false;
  std::string expected_error;                  // part of one; empty: none may come
  std::optional<nlohmann::json> expected_log;  // an array of lines
};

/// The fixtures of a file: one, or an array. kInvalidArgument says what is wrong with it.
StatusOr<std::vector<Fixture>> ReadFixtures(const std::string& file);

/// Answers what the fixture lists; all else fails, without a network. The fixture outlives it.
std::unique_ptr<transformation::Fetcher> MakeFixtureFetcher(const Fixture& fixture);
std::unique_ptr<transformation::Geolocation> MakeFixtureGeolocation(const Fixture& fixture);

/// What is not as expected, in lines that people read; empty: nothing.
std::string Judge(const Fixture& fixture, const std::vector<transformation::Output>& outputs);

/// The lines of both, those that are not common with '-' (only in `wanted`) or '+' before them.
std::string LineDiff(const std::string& wanted, const std::string& got);

}  // namespace millrace::cli
