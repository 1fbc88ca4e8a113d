#include "services/router/parked_users.h"

#include <catch2/catch.hpp>

namespace millrace::router {
namespace {

TEST_CASE("ParkedUsers knows a user until its last event is gone", "[parking]") {
  ParkedUsers parked;
  parked.OnAppended(7);
  parked.OnAppended(7);
  parked.OnAppended(8);
  CHECK(parked.users() == 2);
  CHECK(parked.events() == 3);
  CHECK(parked.unread() == 3);
  CHECK_FALSE(parked.OnRead(7));
  parked.OnGone(7);
  CHECK(parked.Contains(7));
  CHECK_FALSE(parked.OnRead(7));
  parked.OnGone(7);
  CHECK_FALSE(parked.Contains(7));
  CHECK(parked.events() == 1);
  CHECK(parked.unread() == 1);
}

TEST_CASE("ParkedUsers lets nothing of a user in between while it moves to the end", "[parking]") {
  ParkedUsers parked;
  for (int i = 0; i < 3; ++i) parked.OnAppended(7);
  CHECK_FALSE(parked.OnRead(7));  // the first fails, two are still unread
  const uint32_t unread = parked.Unread(7);
  parked.OnAppended(7);
  parked.OnGone(7);
  parked.Move(7, unread);
  CHECK(parked.Moves(7));
  for (int i = 0; i < 2; ++i) {
    CHECK(parked.Moves(7));
    CHECK(parked.OnRead(7));
    parked.OnAppended(7);
    parked.OnGone(7);
  }
  CHECK_FALSE(parked.Moves(7));
  CHECK_FALSE(parked.OnRead(7));  // the first one again
  CHECK(parked.events() == 3);
  CHECK(parked.unread() == 2);
}

TEST_CASE("ParkedUsers does not move a user of whom all is in memory", "[parking]") {
  ParkedUsers parked;
  parked.OnAppended(7, /*read=*/true);
  parked.Move(7, parked.Unread(7));
  CHECK_FALSE(parked.Moves(7));
}

}  // namespace
}  // namespace millrace::router
