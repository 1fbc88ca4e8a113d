#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/base/string_map.h"
#include "libs/destination/exchange.h"
#include "millrace/destination/v1/definition.pb.h"

namespace millrace::destination {

/// A destination type: what it is and, unless it is a warehouse, how it maps events.
struct DestinationType {
  v1::Definition definition;
  std::string mapping_source;
};

/// The destination types this process knows, by RudderStack's type name.
///
/// A value: filled at startup by one thread, then read by any. Pointers it gives live as long as it
/// (and its copies).
class Catalogue {
 public:
  /// The types that are compiled in.
  static Catalogue Builtin();

  /// Adds every folder of `folder` that has a definition.yaml; a type that is known already is
  /// replaced. kInvalidArgument names the file and field at fault; then nothing is added.
  Status LoadFolder(const std::string& folder);

  /// nullptr when there is no such type. Upper and lower case are the same.
  const DestinationType* Find(std::string_view type) const;

  /// Sorted by id.
  std::vector<const DestinationType*> List() const;

 private:
  void Add(std::shared_ptr<const DestinationType> type);
  StringMap<std::shared_ptr<const DestinationType>> types_;
};

enum class Verdict { kDelivered, kRetry, kAbort };

/// What an answer means: 2xx delivered; 408, 429, 5xx and network faults are tried again, except an
/// address that the outbound guard refuses; all else is final. The definition may refine statuses.
Verdict Judge(const v1::Definition& definition, const Answer& response);

}  // namespace millrace::destination
