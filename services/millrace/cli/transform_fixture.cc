#include "services/millrace/cli/transform_fixture.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "libs/base/clock.h"
#include "libs/base/file.h"
#include "libs/config/json_text.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using script::HostAnswer;
using transformation::Output;

constexpr char kDefaultNow[] = "2026-01-01T00:00:00.000Z";

std::string Dump(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Status Wrong(const std::string& what) {
  return MakeStatus(StatusCode::kInvalidArgument, what);
}

Status ReadExpectation(const Json& expect, Fixture* fixture) {
  if (!expect.is_object()) return Wrong("'expect' must be an object");
  for (const auto& [key, value] : expect.items()) {
    if (key == "events" && value.is_array()) {
      fixture->expected_events = value;
    } else if (key == "dropped" && value == true) {
      fixture->expect_dropped = true;
    } else if (key == "error" && value.is_string() && value != "") {
      fixture->expected_error = value.get<std::string>();
    } else {
      return Wrong(
          fmt::format("'expect.{}' is not understood; there are events (array), dropped (true) and "
                      "error (text)",
                      key));
    }
  }
  if (fixture->expect_dropped && fixture->expected_events.has_value()) {
    return Wrong("'expect' has both events and dropped");
  }
  if (expect.empty()) return Wrong("'expect' is empty; give events, dropped or error");
  return OkStatus();
}

Status ReadMember(const std::string& key, const Json& value, Fixture* fixture) {
  if (key == "name" && value.is_string()) {
    fixture->name = value.get<std::string>();
  } else if (key == "event" && value.is_object()) {
    fixture->events.push_back(Dump(value));
  } else if (key == "events" && value.is_array()) {
    for (const Json& event : value) {
      if (!event.is_object()) return Wrong("'events' must hold objects");
      fixture->events.push_back(Dump(event));
    }
  } else if (key == "metadata" && value.is_object()) {
    fixture->metadata = Dump(value);
  } else if (key == "fetches" && value.is_object()) {
    fixture->fetches = value;
  } else if (key == "geolocation" && value.is_object()) {
    fixture->geolocation = value;
  } else if (key == "log" && value.is_array()) {
    fixture->expected_log = value;
  } else if (key == "now" && value.is_string()) {
    if (!ParseTimestamp(value.get<std::string>(), &fixture->now_us)) {
      return Wrong("'now' must be a time such as 2026-01-31T12:00:00Z");
    }
  } else if (key == "expect") {
    return ReadExpectation(value, fixture);
  } else {
    return Wrong(
        fmt::format("'{}' is not understood; a fixture has name, event or events, metadata, "
                    "fetches, geolocation, "
                    "now, expect and log",
                    key));
  }
  return OkStatus();
}

StatusOr<Fixture> ReadFixture(const Json& json) {
  if (!json.is_object()) return Wrong("a fixture must be an object");
  Fixture fixture;
  ParseTimestamp(kDefaultNow, &fixture.now_us);
  // Sorted by key: `event` and `events` before `expect`.
  for (const auto& [key, value] : json.items())
    MR_RETURN_IF_ERROR(ReadMember(key, value, &fixture));
  if (fixture.events.empty()) return Wrong("there is no 'event' and no 'events'");
  if (!json.contains("expect")) return Wrong("there is no 'expect'");
  return fixture;
}

class FixtureFetcher final : public transformation::Fetcher {
 public:
  explicit FixtureFetcher(const Fixture& fixture) : fixture_(fixture) {}

  void Fetch(std::string_view arguments_json, std::string_view,
             std::function<void(HostAnswer)> done) override {
    const Json arguments = Json::parse(arguments_json, nullptr, false);
    const std::string url = arguments.is_array() && !arguments.empty() && arguments[0].is_string()
                                ? arguments[0].get<std::string>()
                                : std::string();
    if (url.empty()) return done({.failed = true, .text = "fetch url is required"});
    if (!fixture_.fetches.contains(url)) {
      return done(
          {.failed = true,
           .text = fmt::format("fetch of {}: not listed in 'fetches' of this fixture", url)});
    }
    done(Answer(url, fixture_.fetches[url]));
  }

 private:
  static HostAnswer Answer(const std::string& url, const Json& listed) {
    const std::set<std::string> known = {"status", "headers", "body", "error"};
    bool parts = listed.is_object() && !listed.empty();
    for (const auto& member : listed.items()) parts = parts && known.count(member.key()) > 0;
    if (parts && listed.contains("error")) {
      const Json& error = listed["error"];
      return {.failed = true, .text = error.is_string() ? error.get<std::string>() : Dump(error)};
    }
    const Json body = parts ? listed.value("body", Json("")) : listed;
    const Json answer = {
        {"url", url},
        {"status", parts ? listed.value("status", Json(200)) : Json(200)},
        {"headers", parts ? listed.value("headers", Json::object()) : Json::object()},
        {"body", body.is_string() ? body : Json(Dump(body))}};
    return {.text = Dump(answer)};
  }

  const Fixture& fixture_;
};

class FixtureGeolocation final : public transformation::Geolocation {
 public:
  explicit FixtureGeolocation(const Fixture& fixture) : fixture_(fixture) {}

  StatusOr<std::string> Lookup(const std::string& ip) override {
    if (fixture_.geolocation.contains(ip)) return Dump(fixture_.geolocation[ip]);
    return Error(StatusCode::kNotFound, "{} is not listed in 'geolocation' of this fixture", ip);
  }

 private:
  const Fixture& fixture_;
};

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string Indented(const std::string& text) {
  std::string indented;
  for (const std::string& line : Lines(text)) indented += "  " + line + "\n";
  return indented;
}

}  // namespace

StatusOr<std::vector<Fixture>> ReadFixtures(const std::string& file) {
  MR_ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  auto parsed = config::ParseJsonText(text);
  if (!parsed.ok())
    return Error(StatusCode::kInvalidArgument, "{} is {}", file, Message(parsed.status()));
  Json json = *std::move(parsed);
  if (!json.is_array()) json = Json::array({json});
  std::vector<Fixture> fixtures;
  for (size_t i = 0; i < json.size(); ++i) {
    auto fixture = ReadFixture(json[i]);
    const std::string place = json.size() == 1 ? file : fmt::format("{}, fixture {}", file, i + 1);
    if (!fixture.ok()) return Annotate(fixture.status(), place);
    if (fixture->name.empty()) {
      fixture->name = std::filesystem::path(file).stem();
      if (json.size() > 1) fixture->name += fmt::format(" {}", i + 1);
    }
    fixtures.push_back(*std::move(fixture));
  }
  return fixtures;
}

std::unique_ptr<transformation::Fetcher> MakeFixtureFetcher(const Fixture& fixture) {
  return std::make_unique<FixtureFetcher>(fixture);
}

std::unique_ptr<transformation::Geolocation> MakeFixtureGeolocation(const Fixture& fixture) {
  return std::make_unique<FixtureGeolocation>(fixture);
}

std::string Judge(const Fixture& fixture, const std::vector<Output>& outputs) {
  Json events = Json::array();
  Json log = Json::array();
  std::string errors;
  bool error_came = false;
  for (const Output& output : outputs) {
    for (const Bytes& event : output.events) {
      events.push_back(Json::parse(event.view(), nullptr, false));
    }
    for (const std::string& line : output.log) log.push_back(line);
    if (output.error.empty()) continue;
    errors += output.error + "\n" + output.stack;
    if (output.error.find(fixture.expected_error) != std::string::npos) error_came = true;
  }
  std::string found;
  if (!fixture.expected_error.empty() && !error_came) {
    found += fmt::format("expected an error with '{}', {}\n", fixture.expected_error,
                         errors.empty() ? "none came" : "these came:");
    found += Indented(errors);
  } else if (fixture.expected_error.empty() && !errors.empty()) {
    found += "failed:\n" + Indented(errors);
  }
  if (fixture.expect_dropped && !events.empty()) {
    found += "expected to be dropped, came out:\n" + Indented(Dump(events, 2));
  }
  if (fixture.expected_events.has_value() && *fixture.expected_events != events) {
    found += "events (- expected, + came out):\n" +
             LineDiff(Dump(*fixture.expected_events, 2), Dump(events, 2));
  }
  if (fixture.expected_log.has_value() && *fixture.expected_log != log) {
    found +=
        "log (- expected, + came out):\n" + LineDiff(Dump(*fixture.expected_log, 2), Dump(log, 2));
  }
  return found;
}

std::string LineDiff(const std::string& wanted, const std::string& got) {
  const std::vector<std::string> a = Lines(wanted);
  const std::vector<std::string> b = Lines(got);
  constexpr size_t kMostLines = 2'000;
  if (a.size() > kMostLines || b.size() > kMostLines) {
    return fmt::format("- {} lines\n+ {} lines, too many to compare here\n", a.size(), b.size());
  }
  // Lengths of the longest common part of what follows (i, j).
  std::vector<std::vector<uint32_t>> common(a.size() + 1, std::vector<uint32_t>(b.size() + 1, 0));
  for (size_t i = a.size(); i-- > 0;) {
    for (size_t j = b.size(); j-- > 0;) {
      common[i][j] =
          a[i] == b[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
    }
  }
  std::string diff;
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      diff += "  " + a[i++] + "\n";
      ++j;
    } else if (i < a.size() && (j == b.size() || common[i + 1][j] >= common[i][j + 1])) {
      diff += "- " + a[i++] + "\n";
    } else {
      diff += "+ " + b[j++] + "\n";
    }
  }
  return diff;
}

}  // namespace millrace::cli
