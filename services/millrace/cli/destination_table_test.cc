#include "services/millrace/cli/destination_table.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

Json Destination(const std::string& name, const Json& status) {
  return {{"name", name}, {"type", "WEBHOOK"}, {"id", "id-" + name}, {"status", status}};
}

Json Used(double fraction, const std::string& when = "give_up") {
  return {{"state", "enabled"},
          {"waiting", 5},
          {"share",
           {{"usedBytes", static_cast<uint64_t>(fraction * (1 << 30))},
            {"limitBytes", 1 << 30},
            {"whenUsedUp", when}}}};
}

}  // namespace

TEST_CASE("destinations are shown with their state, what waits and their share", "[cli]") {
  const Json list = {
      Destination("a", Used(0.25)),
      Destination("b", {{"state", "paused"}, {"waiting", 12}}),
      // Of a server of before `status`.
      Json{{"name", "c"}, {"type", "HTTP"}, {"id", "id-c"}, {"enabled", false}},
  };
  CHECK(DestinationsTable(list) ==
        "NAME  TYPE     STATE     WAITING  SHARE USED                   ID\n"
        "a     WEBHOOK  enabled   5        256.0 MiB of 1.0 GiB (25 %)  id-a\n"
        "b     WEBHOOK  paused    12                                    id-b\n"
        "c     HTTP     disabled                                        id-c\n");
}

TEST_CASE("a destination whose share is half used, or nearly, is pointed at", "[cli]") {
  CHECK(DestinationsTable(Json::array({Destination("a", Used(0.49))})).find("warning") ==
        std::string::npos);
  CHECK(DestinationsTable(Json::array({Destination("a", Used(0.5))}))
            .find("\nwarning: a has used 50 % of its share of the log; when it is used up, its "
                  "oldest waiting events are given up\n") != std::string::npos);
  CHECK(DestinationsTable(Json::array({Destination("a", Used(0.85, "refuse_sources"))}))
            .find("\nurgent: a has used 85 % of its share of the log; when it is used up, the "
                  "sources connected to it are refused\n") != std::string::npos);
}

TEST_CASE("a destination without topics is pointed at", "[cli]") {
  const Json status = {{"state", "enabled"}, {"topicFault", "no room"}};
  CHECK(DestinationsTable(Json::array({Destination("a", status)}))
            .find("\nwarning: a takes no events: its topics are not there: no room\n") !=
        std::string::npos);
}

TEST_CASE("bytes are shown in the unit that fits", "[cli]") {
  CHECK(BytesText(0) == "0 B");
  CHECK(BytesText(1023) == "1023 B");
  CHECK(BytesText(1536) == "1.5 KiB");
  CHECK(BytesText(3ULL << 40) == "3.0 TiB");
  CHECK(BytesText(2048ULL << 40) == "2048.0 TiB");
}

TEST_CASE("a give-up says what waits and what of it is given up", "[cli]") {
  const Json answer = {{"waiting", 7},
                       {"applied", true},
                       {"giveUp", {{"userKey", "default:u:x"}, {"before", "T2"}, {"from", "T1"}}}};
  CHECK(GiveUpText("crm", answer) ==
        "7 events wait for crm; those of default:u:x that came from T1 before T2 are given up, see "
        "'millrace dead-letter ls'\n");
  CHECK(GiveUpText("crm", {{"waiting", 7}, {"applied", false}, {"giveUp", {{"before", "T2"}}}}) ==
        "7 events wait for crm; all of them that came before T2 would be given up (--dry-run)\n");
}

}  // namespace millrace::cli
