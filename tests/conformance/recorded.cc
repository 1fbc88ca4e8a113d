#include "tests/conformance/recorded.h"

#include <algorithm>
#include <sstream>

namespace millrace::conformance {
namespace {

constexpr char kNoGeolocation[] = "geolocation is not available right now";

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

script::HostAnswer AnswerOf(const Json& fetch) {
  if (fetch.contains("error")) {
    return {.failed = true, .text = fetch["error"], .error_name = fetch.value("errorName", "")};
  }
  const Json& response = fetch.at("response");
  const Json answer = {{"url", response.value("url", "")},
                       {"status", response.value("status", 200)},
                       {"headers", response.value("headers", Json::object())},
                       {"body", response.value("text", "")}};
  return {.text = Dump(answer)};
}

std::vector<std::string> WordsOf(const Json& recorded) {
  std::istringstream text(recorded.value("test", ""));
  std::vector<std::string> words;
  for (std::string word; text >> word;) words.push_back(word);
  return words;
}

bool IsSubsequence(const std::vector<std::string>& part, const std::vector<std::string>& all) {
  size_t at = 0;
  for (const std::string& word : all) {
    if (at < part.size() && part[at] == word) ++at;
  }
  return at == part.size();
}

}  // namespace

void RecordedFetcher::Fetch(std::string_view arguments_json, std::string_view,
                            std::function<void(script::HostAnswer)> done) {
  const Json arguments = Json::parse(arguments_json, nullptr, false);
  script::HostAnswer answer{.failed = true, .text = "no such fetch is recorded"};
  {
    MutexLock lock(mu_);
    size_t at = 0;
    while (at < fetches_.size() &&
           (served_[at] || fetches_[at].value("args", Json::array()) != arguments)) {
      ++at;
    }
    if (at < fetches_.size()) {
      served_[at] = true;
      answer = AnswerOf(fetches_[at]);
    } else if (unknown_.empty()) {
      unknown_ = "fetched what is not recorded: " + std::string(arguments_json);
    }
  }
  done(std::move(answer));
}

std::string RecordedFetcher::Complaint() const {
  MutexLock lock(mu_);
  if (!unknown_.empty()) return unknown_;
  const auto left = std::find(served_.begin(), served_.end(), false);
  if (left == served_.end()) return {};
  return "did not fetch " +
         Dump(fetches_[static_cast<size_t>(left - served_.begin())].value("args", Json()));
}

RecordedGeolocation::RecordedGeolocation(const Json& output) {
  const Json none = Json::array();
  const Json& events = output.is_array() ? output : output.value("transformedEvents", none);
  for (const Json& one : events) {
    const Json event = one.is_object() ? one.value("transformedEvent", one) : Json::object();
    const Json context =
        event.is_object() ? event.value("context", Json::object()) : Json::object();
    if (!context.is_object()) continue;
    if (context.contains("geo")) answer_ = Dump(context["geo"]);
    if (context.contains("geoerror") && context["geoerror"].is_string())
      error_ = context["geoerror"];
  }
  available_ = error_ != kNoGeolocation;
}

StatusOr<std::string> RecordedGeolocation::Lookup(const std::string& ip) {
  if (ip.find_first_not_of("0123456789abcdefABCDEF.:") != std::string::npos || ip.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "not an address");
  }
  if (!error_.empty()) return MakeStatus(StatusCode::kUnavailable, error_);
  return answer_;
}

void EarlierCode::Add(const Json& recorded) {
  by_version_[recorded.value("versionId", "")].push_back(
      {WordsOf(recorded), recorded["transformation"]});
}

const Json* EarlierCode::Find(const Json& recorded) const {
  const auto version = by_version_.find(recorded.value("versionId", ""));
  if (version == by_version_.end()) return nullptr;
  const std::vector<std::string> words = WordsOf(recorded);
  const Entry* best = nullptr;
  for (const Entry& entry : version->second) {
    if (!IsSubsequence(entry.words, words)) continue;
    if (best == nullptr || entry.words.size() >= best->words.size()) best = &entry;
  }
  return best == nullptr ? nullptr : &best->transformation;
}

}  // namespace millrace::conformance
