#pragma once

#include "services/processor/event_batch.h"

namespace millrace::processor {

/// Dead-letters what the gateway could not accept, and gives every other event its ids and times:
/// receivedAt, request_ip, originalTimestamp, sentAt, rudderId (a UUID of the MD5 of
/// "userId:anonymousId"), and `timestamp` corrected for the client's clock: kept when given, else
/// receivedAt - (sentAt - originalTimestamp). A time that names no moment counts as missing.
/// Source: RudderStack's event specification.
class NormaliseStage final : public Stage {
 public:
  std::string_view name() const override { return "normalise"; }
  Status Run(EventBatch& batch) override;
};

}  // namespace millrace::processor
