#pragma once

#include <memory>
#include <string>

#include "services/gateway/gateway.h"

/// What the gateway's two halves share: gateway.cc routes and answers, ingest.cc takes the events.
namespace millrace::gateway {

struct Gateway::Route {
  enum class Kind { kSingle, kBatch } kind;
  event::v1::EventType type;
  bool beacon;
};

/// What answering takes, once the request itself has been read.
struct Gateway::Call {
  http::Responder responder;
  MonotonicTime started;
  std::string origin;
};

}  // namespace millrace::gateway
