#include "tests/conformance/recorded.h"

#include <catch2/catch.hpp>

namespace millrace::conformance {
namespace {

std::string Fetch(RecordedFetcher& fetcher, const std::string& arguments) {
  std::string text;
  fetcher.Fetch(arguments, "", [&](const script::HostAnswer& answer) {
    text = (answer.failed ? answer.error_name + ": " : std::string()) + answer.text;
  });
  return text;
}

TEST_CASE("fetches are served in order, and what is amiss is told") {
  const Json fetches = Json::parse(R"([
    {"args": ["a"], "response": {"url": "a", "status": 201, "headers": {"x": "y"}, "text": "one"}},
    {"args": ["a"], "error": "gone", "errorName": "FetchError"},
    {"args": ["b"], "response": {"text": "two"}}])");
  RecordedFetcher fetcher(fetches);
  CHECK(Fetch(fetcher, R"(["a"])") ==
        R"({"body":"one","headers":{"x":"y"},"status":201,"url":"a"})");
  CHECK(Fetch(fetcher, R"(["a"])") == "FetchError: gone");
  CHECK(fetcher.Complaint() == R"(did not fetch ["b"])");
  CHECK(Fetch(fetcher, R"(["b"])") == R"({"body":"two","headers":{},"status":200,"url":""})");
  CHECK(fetcher.Complaint().empty());
  CHECK(Fetch(fetcher, R"(["a"])") == ": no such fetch is recorded");
  CHECK(fetcher.Complaint() == R"(fetched what is not recorded: ["a"])");
}

TEST_CASE("the code of a case without one is that of its earlier twin") {
  EarlierCode earlier;
  const auto add = [&](const char* test, const char* code) {
    earlier.Add({{"test", test}, {"versionId", "v"}, {"transformation", {{"code", code}}}});
  };
  add("suite adds a field", "1");
  add("suite adds a field twice", "2");
  const auto find = [&](const char* test, const char* version) {
    const Json* found = earlier.Find({{"test", test}, {"versionId", version}});
    return found == nullptr ? std::string() : (*found)["code"].get<std::string>();
  };
  CHECK(find("suite with a cache adds a field", "v") == "1");
  CHECK(find("suite with a cache adds a field twice", "v") == "2");
  CHECK(find("suite removes a field", "v").empty());
  CHECK(find("suite adds a field", "w").empty());
}

TEST_CASE("geolocation answers what the recorded events show") {
  RecordedGeolocation found(
      Json::parse(R"([{"transformedEvent":{"context":{"geo":{"city":"X"}}}}])"));
  CHECK(found.available());
  CHECK(*found.Lookup("192.0.2.1") == R"({"city":"X"})");
  CHECK(found.Lookup("home").status().code() == StatusCode::kInvalidArgument);
  const RecordedGeolocation none(Json::parse(
      R"([{"transformedEvent":{"context":{"geoerror":"geolocation is not available right now"}}}])"));
  CHECK_FALSE(none.available());
}

}  // namespace
}  // namespace millrace::conformance
