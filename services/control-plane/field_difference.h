#pragma once

#include <string>

#include "millrace/config/v1/transformation_service.pb.h"

namespace millrace::control_plane {

using JsonTexts = google::protobuf::RepeatedPtrField<std::string>;

/// The fields in which two lists of events differ, by their paths; at most 100.
google::protobuf::RepeatedPtrField<config::v1::FieldDifference> Differences(
    const JsonTexts& in_force, const JsonTexts& candidate);

}  // namespace millrace::control_plane
